"""Numba functions on arrays as nodes of the graph, with their gradients."""

import hashlib
import importlib.util
import inspect
import os
import re
import sys
import tempfile
from pathlib import Path

import mindspore
import numba
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim
from cellwright.kernels.nodes.custom_op import SIGNATURE, bind

_DTYPES = {"float32": 4, "float64": 8, "int32": 4, "int64": 8, "uint8": 1}
_ARRAY = re.compile(r"(\w+)\[(\.\.\.|:(?:,:)*)\]")

_WRAPPER = '''"""Calls a kernel with arrays; written by kernels/nodes/graph_kernel.py."""

from cellwright.kernels.nodes.custom_op import pointer
from numba import carray, float32, float64, int32, int64, uint8


def wrapper(nparam, params, ndims, shapes, dtypes, stream, extra):
    if nparam != {count}:
        return 72
{checks}
{cut}
{arrays}
    kernel({names})
    return 0
'''


class GraphKernel(nn.Cell):
    """Runs a numba function as a node of the graph, on CPU; returns a tensor, or a tuple if there are several outputs.

    signature: dtypes and dimensions of inputs and outputs, such as "float32[:,:], int32[:] -> float32[:,:]";
    `float32[...]` takes any shape and is given to the function as one row. function: called with the arrays of the
    inputs and of the outputs, which it fills. shape: inputs' shapes -> shape of the output, or a list of shapes; by
    default that of the first input. gradient: called with inputs, outputs, gradients of the outputs, and gradients of
    the inputs, which it fills. split: all arrays are cut along their first axis (`[...]`: anywhere) into one piece for
    each thread of the team; the function then sees a piece.

    A tensor of another dtype or number of dimensions is a TypeError when the graph is compiled. The compiled function
    is kept on disk; a change in the file that defines it makes a new one.
    """

    def __init__(self, signature, function, shape=None, gradient=None, split=False):
        super().__init__()
        inputs, outputs = (_arrays(side) for side in signature.split("->"))
        shape = shape or (lambda *shapes: shapes[0])
        count = len(inputs)

        def gradient_shape(*shapes):
            if gradient is None:
                raise TypeError(f"{function.__name__} was given no gradient")
            return _one_or_list(shapes[:count])

        forward = _node(function, inputs, outputs, shape, split)
        backward = _node(
            gradient or function, inputs + outputs + outputs, inputs, gradient_shape, split, bool(gradient)
        )
        self.pair = _Pair(forward, backward, len(inputs) > 1, len(outputs) > 1)

    def construct(self, *inputs):
        return self.pair(inputs)


class _Pair(nn.Cell):
    """A node and the node of its gradient; the inputs are a tuple, because `bprop` cannot have a variable number."""

    def __init__(self, forward, backward, several_inputs, several_outputs):
        super().__init__()
        self.forward, self.backward = forward, backward
        self.several_inputs, self.several_outputs = several_inputs, several_outputs

    def construct(self, inputs):
        return self.forward(*inputs)

    def bprop(self, inputs, out, dout):
        if self.several_outputs:
            gradients = self.backward(*inputs, *out, *dout)
        else:
            gradients = self.backward(*inputs, out, dout)
        if self.several_inputs:
            return (gradients,)
        return ((gradients,),)


def _one_or_list(values):
    return list(values) if len(values) > 1 else values[0]


def _arrays(text):
    """Returns (dtype, dimensions) for each array of one side of a signature; dimensions 0 stands for any."""
    found = _ARRAY.findall(text.replace(" ", ""))
    if not found or ",".join(f"{dtype}[{axes}]" for dtype, axes in found) != text.replace(" ", ""):
        raise ValueError(f"signature {text.strip()!r}: expected arrays such as float32[:,:] or float32[...]")
    for dtype, _ in found:
        if dtype not in _DTYPES:
            raise ValueError(f"signature {text.strip()!r}: {dtype} is not one of {', '.join(_DTYPES)}")
    return [(dtype, 0 if axes == "..." else axes.count(":")) for dtype, axes in found]


def _node(function, inputs, outputs, shape, split, compiled=True):
    def out_shape(*shapes):
        for number, (found, (_, dimensions)) in enumerate(zip(shapes, inputs)):
            if dimensions and len(found) != dimensions:
                raise TypeError(
                    f"{function.__name__}: input {number} has shape {list(found)}, not {dimensions} dimensions"
                )
        return shape(*shapes)

    def out_dtype(*dtypes):
        for number, (found, (dtype, _)) in enumerate(zip(dtypes, inputs)):
            if dtype not in str(found).lower():
                raise TypeError(f"{function.__name__}: input {number} is {found}, not {dtype}")
        return _one_or_list([getattr(mindspore, dtype) for dtype, _ in outputs])

    symbol = (
        bind(*_compile(function, inputs + outputs, split), split) if compiled else f"{shim()[0]}:cellwright_slot_00"
    )
    return ops.Custom(symbol, out_shape, out_dtype, func_type="aot")


def _compile(function, arrays, split):
    """Returns a string for the kernel and its wrapper, compiled or taken from the disk."""
    source = _source(arrays, split)
    digest = hashlib.sha256(f"{source} {function.__qualname__} {numba.__version__}".encode())
    digest.update(Path(inspect.getsourcefile(function)).read_bytes())
    name = f"kernel_{digest.hexdigest()[:24]}"
    path = _cache_folder() / f"{name}.py"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(source, encoding="utf-8")
        unfinished.rename(path)
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where numba's cache looks for it by name
    spec.loader.exec_module(module)
    module.kernel = numba.njit(function, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})
    return name, numba.cfunc(SIGNATURE, cache=True)(module.wrapper)


def _source(arrays, split):
    checks, lines, names = [], [], []
    for k, (dtype, dimensions) in enumerate(arrays):
        names.append(f"a{k}")
        if dimensions:
            checks += [f"    if ndims[{k}] != {dimensions}:", "        return 72"]
            shape = "(" + "".join(f"shapes[{k}][{axis}], " for axis in range(dimensions)) + ")"
        else:
            checks += [f"    n{k} = 1", f"    for axis in range(ndims[{k}]):", f"        n{k} *= shapes[{k}][axis]"]
            shape = f"(n{k},)"
        lines.append(f"    a{k} = carray(pointer(params[{k}]), {shape}, {dtype})")
        if split:
            lines.append(f"    a{k} = a{k}[len(a{k}) * thread // threads : len(a{k}) * (thread + 1) // threads]")
    cut = "    thread, threads = address(stream), address(extra)" if split else ""
    text = _WRAPPER.format(
        count=len(arrays), checks="\n".join(checks), cut=cut, arrays="\n".join(lines), names=", ".join(names)
    )
    return text.replace("import pointer", "import address, pointer") if split else text


def _cache_folder():
    """A folder that can be written: in $XDG_CACHE_HOME or ~/.cache, else for this process alone."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cellwright" / "kernels"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError:
        return Path(tempfile.mkdtemp(prefix="cellwright-kernels-"))
