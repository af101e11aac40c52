"""Runs many command lines in one process, one after another: reads [[module, argument, ...], ...] as JSON from its
input, writes [[exit code, stdout, stderr], ...]. A tenth of the time of as many processes.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import traceback

from cellwright.launch.host import job, runtime


def start_once():
    """MindSpore's device can be set before the first kernel alone: all lines of a session have this one."""
    runtime.quiet_environment(2)
    runtime.start_mindspore("CPU", 0, 2, 1)
    import mindspore as ms

    runtime.start_mindspore = job.start_mindspore = lambda *_, **__: ms.set_context(mode=ms.GRAPH_MODE)
    # A graph on disk is known by its number in the process that compiled it, which is another one for each line here.
    runtime.use_compile_cache = job.use_compile_cache = lambda folder: None


def run(module, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = importlib.import_module(f"cellwright.{module}").main(list(arguments))
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    start_once()
    answer = os.fdopen(os.dup(1), "w")
    cores = os.sched_getaffinity(0)
    results = []
    for line in json.load(sys.stdin):
        results.append(run(*line))
        os.sched_setaffinity(0, cores)
    json.dump(results, answer)
    answer.close()
