"""Convolutions whose groups are no whole blocks of channels, or that have less than a block: run with more weights.

Several groups run as one, with zeros between them; few channels as a whole block, with zeros where there are none.
"""

import dataclasses

from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.csrc import program_abi as native

# So many times the multiplications. One at a time, oneDNN runs such groups on reference loops, which take longer: a
# group of 4 channels, 3x3, 24x24 pixels, 128 in all.
_MOST = 16


def merged(groups, channels, filters, lanes):
    """Returns how many groups run as one: the fewest that are whole blocks of channels and filters, or all of them.

    1 where it is no use: for depthwise convolutions, or where it would be too many.
    """
    if groups == 1 or groups == channels == filters:
        return 1
    inside, outside = channels // groups, filters // groups
    for count in range(1, groups + 1):
        if groups % count == 0 and (count == groups or not (inside * count % lanes or outside * count % lanes)):
            return count if count <= _MOST else 1
    return 1


@dataclasses.dataclass(frozen=True)
class Expansion:
    """How weights become those of the convolution that is run: `count` groups as one, of `channels` channels in all."""

    groups: int
    channels: int
    count: int = 1
    run_channels: int = 0

    def sizes(self, numbers):
        """Returns the integers of the jobs that bring weights into those of the convolution that is run, and back.

        numbers: of this convolution, by the names of the table.
        """
        window, filters = numbers["kernel_height"] * numbers["kernel_width"], numbers["filters"]
        return {
            "filters": filters,
            "row": self.channels // self.groups * window,
            "group": filters // self.groups,
            "count": self.count,
            "expanded_row": self.run_channels // numbers["groups"] * window,
        }


def bring_weights(stages, entry, numbers, expansion, weights, target, floats):
    """Adds the job that brings weights into the layout of the convolution that is run."""
    own = expansion.sizes(numbers)
    expanded = stages.take_lasting(own["filters"] * own["expanded_row"])
    reorder = native.reorder(entry.handle, False)
    places = {"source": weights, "expanded": expanded, "target": target}
    stages.weights_job("grouped_reorder", entry.layer, handle=reorder, **places, **own, floats=floats)


def bring_gradient(stages, entry, numbers, expansion, total, target, floats):
    """Adds the job that adds up the gradients of the threads, and takes those of the weights that there are."""
    own = expansion.sizes(numbers)
    expanded = stages.take_lasting(own["filters"] * own["expanded_row"])
    reorder = native.reorder(entry.handle, True)
    places = {"sum": total, "expanded": expanded, "target": target}
    if target is not NONE:
        stages.gradient_job("grouped_weight_gradient", entry.layer, reorder, **places, **own, floats=floats)
