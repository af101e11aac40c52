"""Run by test_overlap.py: compiles three graphs, the second without the compile cache; prints what is on disk then."""

import sys
from pathlib import Path

import mindspore as ms
from mindspore import nn

from cellwright.launch.host.runtime import quiet_environment, use_compile_cache, without_compile_cache


class Twice(nn.Cell):
    """2 x."""

    def construct(self, x):
        return x + x


if __name__ == "__main__":
    quiet_environment(1)
    ms.set_context(mode=ms.GRAPH_MODE)
    use_compile_cache(sys.argv[1])
    for count in (1, 2, 3):
        cell, x = Twice(), ms.ops.ones((count,), ms.float32)
        if count == 2:
            with without_compile_cache():
                cell(x)
        else:
            cell(x)
    print(*sorted(path.name for path in Path(sys.argv[1]).rglob("*.mindir")))
