"""The C that runs programs and nodes, and the Python that opens it."""

from cellwright.kernels.csrc.onednn_library import limit_stock
from cellwright.kernels.csrc.shim import ShimMissing, set_threads, shim_available

__all__ = ["ShimMissing", "limit_stock", "set_threads", "shim_available"]
