"""Replaces the parts of a network that programs can run by nodes of the graph that run them."""

import contextlib
import functools
import logging

from mindspore import Tensor, nn

from cellwright.kernels.compiler import explanation, program_set
from cellwright.kernels.compiler.errors import Untraceable, UntraceableEnds
from cellwright.kernels.compiler.replacement import Replacement
from cellwright.kernels.compiler.tensors import BFLOAT16, FLOAT32
from cellwright.kernels.compiler.trace import arguments
from cellwright.kernels.csrc import program_abi as native
from cellwright.kernels.csrc.onednn_library import limit_stock
from cellwright.kernels.csrc.shim import ShimMissing

logger = logging.getLogger("cellwright.kernels")


class _Accelerated(nn.Cell):
    """Takes the place of a cell's class: the same parameters and cells, another `construct`.

    Whatever begins with `program_` is made when the framework compiles the cell, from what the cell is then.
    """

    def __getattr__(self, name):
        if name.startswith("program_"):
            return self.__dict__["_replacement"].attribute(self, name)
        return super().__getattr__(name)

    def construct(self, x):
        if self.program_runs:
            return self.program_results((x,), self.program_trainable, self.program_frozen, self.program_statistics)
        return self.program_stock(x)


class _AcceleratedSeveral(_Accelerated):
    """May be given several arguments. Those that programs do not take, as they are no tensors, or of which there are
    more than were read, are for the stock `construct`.
    """

    def construct(self, *given, **settings):
        if self.program_runs:
            shapes = ()
            for one in given:
                shapes = shapes + (one.shape if isinstance(one, Tensor) else (),)
            if self.program_fits(shapes, len(settings)):
                return self.program_results(given, self.program_trainable, self.program_frozen, self.program_statistics)
        return self.program_stock(*given, **settings)


def accelerate(network, backward_parts=1):
    """Returns the network, with all parts that it can run on the CPU by programs of its own replaced by these.

    A program runs a whole subnetwork (convolutions by oneDNN in its own layout; norms, activations, pools and sums
    between them while their operands are in the cache) as one node forward and one backward. Parameters, their names
    and the cells stay what they are; only the class of the replaced cells changes. Whatever cannot be replaced stays:
    cells of types that programs do not know, networks that are not float32, machines without the shim or without AVX2.
    A network or part may take several images, and return a tuple or list of tensors.

    backward_parts: nodes of the backward, each with about as many numbers of gradients. With several, the first
    gradients can be summed over ranks while the others are computed; they give the same bits and take a memory of
    their own.
    """
    if not _ready():
        limit_stock(network)
        return network
    for name, cell, replacement, reason in candidates(network, backward_parts):
        if replacement is None:
            logger.debug("%s (%s) stays stock: %s", name, type(cell).__name__, reason)
        elif not isinstance(cell, _Accelerated):
            _replace(cell, replacement)
    limit_stock(network)
    return network


def candidates(network, backward_parts=1, name="", whole=True):
    """Yields (name, cell, Replacement or None, why there is none) of the parts that are replaced, and of cells
    that are not.

    The largest cells that can be traced are replaced; of the others, those are named that have no cells inside or that
    stay stock for what goes in and out.
    """
    if isinstance(network, _Accelerated):
        yield name, network, network.__dict__["_replacement"], ""
        return
    replacement = Replacement(network, name, backward_parts, together=not whole)
    try:
        replacement.try_both_modes(network)
    except Untraceable as reason:
        inside = network.name_cells()
        if not inside or isinstance(reason, UntraceableEnds):
            yield name, network, None, str(reason)
        for own, cell in inside.items():
            yield from candidates(cell, backward_parts, f"{name}.{own}" if name else own, whole=False)
        return
    yield name, network, replacement, ""


def explain(network, shape, dtype=None):
    """Returns which parts of a network run on programs for inputs (N, C, H, W), and why the others do not.

    shape: of the input, or a list of those of several inputs. dtype: in which programs are to store tensors, "float32"
    or "bfloat16"; none: as they do. It can be printed as a table; see explanation.Explanation. The network stays as it
    is, accelerated or not.
    """
    if not _ready():
        raise ShimMissing("this machine cannot run programs: see the warning above")
    return explanation.explain(network, shape, list(candidates(network)), dtype)


def _replace(cell, replacement):
    kind = type(cell)
    cell.__dict__["_replacement"] = replacement
    base = _AcceleratedSeveral if arguments(cell)[1] > 1 else _Accelerated
    cell.__class__ = type(kind.__name__, (base, kind), {"__module__": kind.__module__, "stock_class": kind})


@functools.lru_cache(maxsize=1)
def _ready():
    """True if this machine can run programs; if not, says why, once."""
    try:
        native.library().cellwright_callbacks(program_set.build, program_set.report)
    except ShimMissing as missing:
        logger.warning("%s", missing)
        return False
    return True


def accelerated(network):
    """Returns the cells inside `network` (itself included) that programs run."""
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, _Accelerated)]


def store_in(network, dtype, except_for=()):
    """Lets the programs inside an accelerated network store their tensors as "float32" or "bfloat16"; returns the cells
    that do so now.

    What goes in and out, parameters and their gradients, statistics and all sums stay float32; convolutions multiply
    bfloat16 where that is faster on this machine, see `forms`. except_for: classes of cells that compute in float32,
    and with them the program that they are in. Holds from the next time that the framework compiles the network.
    """
    if dtype not in (FLOAT32, BFLOAT16):
        raise ValueError(f"dtype = {dtype!r}: must be {FLOAT32} or {BFLOAT16}")
    found = []
    for cell in accelerated(network):
        kept = any(isinstance(inner, tuple(except_for)) for _, inner in cell.cells_and_names())
        replacement = cell.__dict__["_replacement"]
        replacement.dtype = FLOAT32 if kept else dtype
        with contextlib.suppress(Untraceable):  # the cell was changed: told when it is compiled
            # A graph from the compile cache is not read again: its nodes have to find their programs by the key.
            replacement.try_both_modes(cell)
        found += [] if kept else [cell]
    return found


def cut_backward(network, parts):
    """Lets the programs inside an accelerated network compute their gradients by so many nodes, see `accelerate`.

    Holds from the next time that the framework compiles the network; graphs that it has compiled stay as they are.
    """
    for cell in accelerated(network):
        cell.__dict__["_replacement"].parts = parts


def make_programs(network):
    """Makes the programs of the accelerated cells inside a network for the state that they are in, for nodes of graphs
    that the framework takes from its compile cache.
    """
    for cell in accelerated(network):
        cell.__dict__["_replacement"].choice(cell)


def program_keys(network):
    """Returns what names the programs that were made for the accelerated cells inside a network, in order.

    A graph from the framework's compile cache finds its programs by them: one that was compiled with others, as in
    another dtype or for another number of threads, fails.
    """
    return tuple(key for cell in accelerated(network) for key in cell.__dict__["_replacement"].keys())


def restore(network):
    """Returns the network with the cells that programs ran as they were, for exporting it."""
    for cell in accelerated(network):
        cell.__class__ = type(cell).stock_class
        del cell.__dict__["_replacement"]
    return network
