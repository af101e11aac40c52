"""Numba kernels of the loader. What touches MindSpore or MPI lives in kernels.graph, which is not imported here."""
