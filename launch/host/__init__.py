"""MPI world, cores, devices, collectives, signals, logs of one rank."""
