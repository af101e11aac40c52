import os

# Before MindSpore is loaded, as launch/runtime.py does it: see there.
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
