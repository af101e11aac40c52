"""Turns finished stages into programs of the C side, and says what each of their operations does and costs."""

import ctypes

from cellwright.kernels.compiler.layers import COSTS
from cellwright.kernels.compiler.layers.convolution import multiplies_bfloat16, operation_cost
from cellwright.kernels.compiler.schedule import NONE, Ref
from cellwright.kernels.compiler.tensors import BFLOAT16
from cellwright.kernels.csrc import program_abi as native
from cellwright.kernels.nodes.clock import Operation

_WEIGHT_KINDS = (
    "weight_gradient",
    "depthwise_weight_gradient",
    "grouped_weight_gradient",
    "paired_weight_gradient",
    "bias_gradient",
    "norm_gradient",
    "norm_reduce",
    "gather_gradient",
)
# Jobs that move arrays of `floats` numbers.
_MOVED = (
    *("reorder", "grouped_reorder", "gather_gradient"),
    *("weight_gradient", "grouped_weight_gradient", "paired_weight_gradient"),
)


def packed(entries):
    """Returns the entries of a stage as an array of native.Operation."""
    array = (native.Operation * max(1, len(entries)))()
    for slot, entry in zip(array, entries):
        kind = native.KINDS[entry.group, entry.kind]
        slot.kind, slot.handle = native.NUMBERS[entry.group, entry.kind], entry.handle
        slot.continues = int(entry.continues)
        arguments = getattr(slot.arguments, f"{entry.group}_{entry.kind}")
        for name in kind.operands:
            ref = entry.arguments.get(name) or NONE
            setattr(arguments, name, native.Operand(ref.base, ref.offset, ref.stride, ref.channel))
        for name in kind.integers:
            setattr(arguments, name, int(entry.arguments[name]))
        for name in kind.floats:
            setattr(arguments, name, float(entry.arguments[name]))
    return array


def emit(key, shapes, closed, memory, sizes, saved_index, work_index, threads, dtype):
    """Returns the address of a new program, which nodes can find by its key and the shapes of its inputs.

    closed: its stages. memory: floats of work, of scratch, and of what is kept. sizes: floats of each tensor of the
    node. saved_index, work_index: the numbers of the tensors that hold what was saved and, or -1, the work memory.
    dtype: in which tensors are stored. MemoryError without memory.
    """
    lib = native.library()
    program = lib.cellwright_program_new(
        key,
        native.shape_numbers(shapes),
        native.lanes(),
        int(dtype == BFLOAT16),
        threads,
        saved_index,
        work_index,
        len(sizes),
        native.integers(sizes),
    )
    if not program:
        raise MemoryError("no memory for a program")
    for capacity, operations, jobs in closed:
        lists = [packed(entries) for entries in jobs]
        pointers = (ctypes.POINTER(native.Operation) * 3)(
            *(ctypes.cast(array, ctypes.POINTER(native.Operation)) for array in lists)
        )
        counts = native.integers(map(len, jobs))
        if lib.cellwright_program_stage(program, capacity, packed(operations), len(operations), pointers, counts):
            lib.cellwright_program_free(program)
            raise MemoryError("no memory for a stage of a program")
    if lib.cellwright_program_publish(program, *memory):
        lib.cellwright_program_free(program)
        raise MemoryError("no memory for what a program keeps")
    return program


def describe(closed, phase, input_only, dtype):
    """Returns {(stage, list, index): Operation} of the stages of a program."""
    return {
        (number, list_number, index): _describe(entry, phase, input_only, dtype)
        for number, (_, operations, jobs) in enumerate(closed)
        for list_number, entries in enumerate((operations, *jobs))
        for index, entry in enumerate(entries)
    }


def _describe(entry, phase, input_only, dtype):
    kind, direction = entry.kind, "forward"
    if phase == "backward":
        direction = "weight gradient" if kind in _WEIGHT_KINDS and not input_only else "input gradient"
    if entry.group == "job":
        numbers = (value for value in entry.arguments.values() if not isinstance(value, Ref))
        floats = entry.arguments["floats"] if kind in _MOVED else next(numbers, 0)
        return Operation(f"{kind} (job)", entry.layer, phase, direction, 0.0, 0.0, 8.0 * floats)
    narrow = dtype == BFLOAT16
    if entry.prepare is not None:
        costs = operation_cost(entry)
        narrow = multiplies_bfloat16(entry)
    else:
        flops, *moved = COSTS[kind](entry.arguments, native.lanes())
        # "floats" is memory already, whatever is stored there.
        halves = narrow and "floats" not in entry.arguments
        costs = flops, *(number / 2 if halves else number for number in moved)
    if kind == "conv" and direction != "forward":
        kind = "conv_input_gradient"
    return Operation(f"{kind} bfloat16" if narrow else kind, entry.layer, phase, direction, *costs)
