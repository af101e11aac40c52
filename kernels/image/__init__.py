"""Numba functions on pixels and JPEG bits, which the loader's workers run. Needs neither MindSpore nor MPI."""
