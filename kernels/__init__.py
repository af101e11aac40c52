"""Kernels of the loader (image), and of the graph on CPU (compiler, nodes, csrc). Loads none of them by itself."""
