"""FLOPs and bytes of operations that walk over images number by number."""


def passes(arrays, flops):
    """Returns the cost of an operation that reads or writes so many arrays of an image, with so many FLOPs for each
    number of one.

    A cost is a function of the arguments and of the channels of a block that returns FLOPs and bytes for an image, and
    bytes for each run: what the operation must read and write, wherever it lies.
    """

    def cost(arguments, lanes):
        if "floats" in arguments:
            numbers = arguments["floats"]
        elif "channels" in arguments:
            numbers = arguments["channels"] * arguments["pixels"]
        else:
            numbers = arguments["blocks"] * arguments["pixels"] * lanes
        return float(flops * numbers), 4.0 * arrays * numbers, 0.0

    return cost


def window(arrays):
    """Returns the cost of a pool; arrays: how often the source and the target are read or written."""

    def cost(arguments, lanes):
        source, target = (
            arguments["blocks"] * lanes * arguments[f"{of}height"] * arguments[f"{of}width"] for of in ("", "out_")
        )
        flops = arguments["kernel_height"] * arguments["kernel_width"] * target
        return float(flops), 4.0 * arrays * (source + target), 0.0

    return cost
