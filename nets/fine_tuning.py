"""What a fine-tuning needs to know of networks: the depth of their parameters, and the norms to keep."""

from mindspore import nn


def stages(network):
    """Returns the stages of a network that `create_network` made, from the images to the head: patterns of parameter
    names, as for file names, a tuple of them for each stage. They differ by the resolution of what they compute on
    (MindCV's: where it lists that); the head is the last.

    To be asked for before kernels take the network's cells.
    """
    # What ends in no dot is the name of a parameter.
    return tuple(
        tuple(f"{prefix}*" if prefix.endswith(".") else prefix for prefix in stage) for stage in network.stage_prefixes
    )


def between_pools(prefix, cells):
    """Returns the prefixes of the cells of a sequence that have parameters, a tuple for each stretch between pools."""
    found = [[]]
    for name, cell in cells.name_cells().items():
        if isinstance(cell, nn.MaxPool2d):
            found.append([])
        elif any(True for _ in cell.get_parameters()):
            found[-1].append(f"{prefix}{name}.")
    return tuple(tuple(stage) for stage in found if stage)


def freeze_batch_norm(network, head=None):
    """Lets every BatchNorm but the head's keep its statistics, gamma and beta, and returns how many there are.

    head: how the names of the head's parameters begin, by default as in one of our networks.

    The network is in training mode afterwards, its frozen norms evaluate. To be called before kernels take its cells.
    """
    head = head or network.head_prefix
    network.set_train(True)
    frozen = [
        cell
        for _, cell in network.cells_and_names()
        if isinstance(cell, nn.BatchNorm2d) and not cell.gamma.name.startswith(head)
    ]
    for cell in frozen:
        cell.set_train(False)
        cell.gamma.requires_grad = cell.beta.requires_grad = False
    return len(frozen)
