"""The CUDA 11 libraries of the [gpu] extra: found in site-packages and made known to the dynamic loader.

MindSpore opens its GPU plugin when the device is set, and the plugin names its libraries by soname. The loader takes a
library of that soname which is in the process already, so they are opened here first; LD_LIBRARY_PATH alone would come
too late for this process, which read it when it started. It is set all the same, for the `ldd` by which MindSpore
checks its plugin. Not run on hardware.
"""

import ctypes
import os
import sys
from pathlib import Path

# soname that the plugin for CUDA 11.6 wants -> (folder below site-packages/nvidia, package of the [gpu] extra)
LIBRARIES = {
    "libcudart.so.11.0": ("cuda_runtime", "nvidia-cuda-runtime-cu11"),
    "libnvrtc.so.11.2": ("cuda_nvrtc", "nvidia-cuda-nvrtc-cu11"),
    "libcublasLt.so.11": ("cublas", "nvidia-cublas-cu11"),
    "libcublas.so.11": ("cublas", "nvidia-cublas-cu11"),
    "libcurand.so.10": ("curand", "nvidia-curand-cu11"),
    "libcufft.so.10": ("cufft", "nvidia-cufft-cu11"),
    "libcusparse.so.11": ("cusparse", "nvidia-cusparse-cu11"),
    "libcusolver.so.11": ("cusolver", "nvidia-cusolver-cu11"),
    "libcudnn.so.8": ("cudnn", "nvidia-cudnn-cu11"),
}
DRIVER = "libcuda.so.1"


def library_folders(site_folders):
    """Returns the lib folders of the extra's packages below these site-packages folders, in the order of loading."""
    found = []
    for folder in dict.fromkeys(name for name, _ in LIBRARIES.values()):
        for site in site_folders:
            path = Path(site) / "nvidia" / folder / "lib"
            if path.is_dir():
                found.append(path)
                break
    return found


def use_gpu_libraries(environment=os.environ, site_folders=None):
    """Opens the libraries of the [gpu] extra for the whole process; returns their paths, none without the extra.

    Libraries of the system serve where a package is missing. To be called before the device is set.
    """
    folders = library_folders(sys.path if site_folders is None else site_folders)
    if not folders:
        return []
    # The plugin was chosen by the nvcc of CUDA_HOME if that is set; without it the one whose libraries are there is
    # taken.
    environment.pop("CUDA_HOME", None)
    before = environment.get("LD_LIBRARY_PATH")
    environment["LD_LIBRARY_PATH"] = os.pathsep.join([*map(str, folders), *([before] if before else [])])
    opened = []
    for path in (folder / name for name in LIBRARIES for folder in folders):
        if path.is_file():
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
            opened.append(path)
    for folder in folders:
        # cuDNN opens its parts by name at first use; cuBLAS, cuSPARSE and the others have none.
        for path in sorted(folder.glob("libcudnn_*.so.8")):
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    return opened


def missing_libraries(opens=ctypes.CDLL):
    """Returns {soname: what to install} of what MindSpore's GPU plugin wants and the dynamic loader does not find."""
    remedies = {DRIVER: "the NVIDIA driver", **{name: package for name, (_, package) in LIBRARIES.items()}}
    missing = {}
    for name, remedy in remedies.items():
        try:
            opens(name)
        except OSError:
            missing[name] = remedy
    return missing
