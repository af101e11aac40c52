"""What programs find around them: no threads, no graph, a shim from other sources, a framework that has no limit."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from all_instructions import needs_avx512

from cellwright.kernels.csrc import onednn_library, shim_available

needs_shim = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
BEGIN = """
import logging
logging.basicConfig(format="%(message)s")
import numpy as np
import mindspore
from mindspore import Tensor, ops
from cellwright.kernels.compiler import accelerate, accelerated
from small_cells import SMALL, difference, images, outcome

"""


def run(code, limit="AVX2"):
    """Returns what a process of its own says on stderr; fails if it does. limit: ONEDNN_MAX_CPU_ISA, or None."""
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    environment |= {"ONEDNN_MAX_CPU_ISA": limit} if limit else {}
    line = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parent, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@needs_shim
def test_without_a_graph_programs_compute_the_same():
    """Two nodes of a program have the same inputs; the framework's cache of operators took one for the other."""
    run("""
mindspore.set_context(mode=mindspore.PYNATIVE_MODE, device_target="CPU")
for name in ("residual", "gate over the mean", "dense block"):
    network = SMALL[name]()
    x = images(network)
    stock = outcome(network, x)
    off, where = difference(stock, outcome(accelerate(network), x))
    assert accelerated(network) == [network] and off < 1e-4, (name, where, off)
""")


@needs_shim
def test_where_no_thread_can_be_started_the_caller_does_the_work():
    """Too little memory is left for the stack of a thread."""
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    stack = 2 << 20 if stack == resource.RLIM_INFINITY else stack
    run(f"""
import _thread, resource
from cellwright.kernels.csrc.shim import set_threads
assert set_threads(4) == 4
network = SMALL["residual"]()
x = images(network)
stock = outcome(network, x)
accelerate(network).set_train(False)
network.compile(Tensor(x))
before, used = resource.getrlimit(resource.RLIMIT_AS), int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used * resource.getpagesize() + {stack // 2}, before[1]))
try:
    _thread.start_new_thread(print, ())
except RuntimeError:
    network(Tensor(x))
else:
    raise AssertionError("a thread could be started")
resource.setrlimit(resource.RLIMIT_AS, before)
off, where = difference(stock, outcome(network, x))
assert accelerated(network) and off < 1e-4, (where, off)
""")


STOCK_STEP = """
import ctypes, os
from cellwright.engine import Momentum, SoftmaxCrossEntropy, TrainOneStep
from cellwright.kernels.csrc.onednn_library import framework_library
network = SMALL["residual"]()
x = images(network)
if {early}:
    network(Tensor(x))
step = TrainOneStep(network, SoftmaxCrossEntropy(10), Momentum(network.trainable_params(), 0.9))
step(x, np.zeros(len(x), np.int32), lr=0.1)
isa = ctypes.CDLL(str(framework_library())).dnnl_get_effective_cpu_isa()
"""


def test_a_step_of_stock_operators_has_a_usable_limit_of_instructions():
    """With all of AVX-512 the framework's convolutions of plain images run on reference loops."""
    assert "ONEDNN_MAX_CPU_ISA" not in run(STOCK_STEP.format(early=False) + "assert isa <= 0xf, hex(isa)", limit=None)


@needs_avx512
def test_a_limit_that_comes_too_late_is_told():
    told = run(STOCK_STEP.format(early=True), limit=None)
    assert told.count("ONEDNN_MAX_CPU_ISA=AVX2") == 1
    assert not run(STOCK_STEP.format(early=True) + "assert isa > 0xf", limit="DEFAULT").count("ONEDNN_MAX_CPU_ISA")


def test_a_full_disk_leaves_no_part_of_a_copy_of_onednn_and_is_one_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # no file may grow beyond: write fails as on a full disk
    try:
        assert onednn_library.program_library() == (onednn_library.framework_library(), False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    (line,) = caplog.messages
    assert line.startswith(f"oneDNN could not be copied into {tmp_path}/") and line.endswith(" share MindSpore's")
    copy, own = onednn_library.program_library()
    assert own and copy.read_bytes() == onednn_library.framework_library().read_bytes()


def test_a_shim_from_other_sources_is_left_alone_with_one_line():
    told = run("""
from cellwright.kernels.csrc import operations
operations.header = lambda: ("", 1)
from cellwright.kernels.csrc import shim
shim.header = operations.header
from types import SimpleNamespace
from cellwright.launch.host.job import Job
network = SMALL["residual"]()
assert not accelerated(accelerate(network)) and not accelerated(accelerate(SMALL["pools"]()))
settings = SimpleNamespace(kernels="own", device_target="CPU")
assert Job.step_kernels(None, settings) == {}
""")
    assert told.count("stock operators are used") == 1
