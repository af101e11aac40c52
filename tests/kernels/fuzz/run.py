"""Fuzzes the networks of some seeds in this process.

    python tests/kernels/fuzz/run.py FIRST:LAST [--threads N] [--chunk BYTES] [--minimise] [--stock] [--source]

Writes a line of JSON for each seed before it is tried and one for what was wrong with it, and at the end a summary. The
instruction set is that of ONEDNN_MAX_CPU_ISA (AVX2 if it is not set; DEFAULT is all that the machine has).
"""

import argparse
import faulthandler
import gc
import inspect
import json
import logging
import os
import pkgutil
import sys
import time
from importlib import import_module
from pathlib import Path

os.environ.setdefault("GLOG_v", "4")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parents[1] / "compiler"), *(str(Path(__file__).parents[k]) for k in (1, 2, 3))]
HANGS_AFTER = 180  # seconds of one network


def force_chunks(size):
    """Makes chunks of `size` bytes wherever the compiler takes CHUNK_BYTES; returns how many places that were."""
    from cellwright.kernels import compiler

    names = ["cellwright.kernels.compiler"]
    names += [module.name for module in pkgutil.walk_packages(compiler.__path__, "cellwright.kernels.compiler.")]
    modules, places = [import_module(name) for name in names], 0
    for module in modules:
        old = vars(module).get("CHUNK_BYTES")
        if old is None:
            continue
        module.CHUNK_BYTES = size
        places += 1
        for _, owner in inspect.getmembers(module, inspect.isclass):
            for function in vars(owner).values():
                if inspect.isfunction(function) and function.__defaults__ and old in function.__defaults__:
                    function.__defaults__ = tuple(size if value == old else value for value in function.__defaults__)
    return places


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", help="FIRST:LAST, the last one not included, or one seed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=0, help="bytes; 0: what the compiler takes")
    parser.add_argument("--repeat", type=int, default=1, help="how often each network is tried")
    parser.add_argument("--stock", action="store_true", help="judge the stock operators")
    parser.add_argument("--minimise", action="store_true")
    parser.add_argument("--source", action="store_true", help="print the networks' source")
    given = parser.parse_args()
    first, _, last = given.seeds.partition(":")
    seeds = range(int(first), int(last or int(first) + 1))

    import mindspore
    from fuzz.check import check
    from fuzz.draw import draw_network
    from fuzz.minimise import minimise

    from cellwright.kernels.csrc.shim import set_threads

    mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target="CPU")
    logging.getLogger("cellwright.kernels").setLevel(logging.CRITICAL)
    if set_threads(given.threads) != given.threads:
        sys.exit(f"the team has {set_threads(0)} threads and not {given.threads}")
    if given.chunk and not force_chunks(given.chunk):
        sys.exit("no CHUNK_BYTES was found in cellwright.kernels.compiler: chunks cannot be forced")
    # MindSpore collects garbage at each compilation: half of a network's time went there while the modules took part.
    gc.collect()
    gc.freeze()
    began, tried, on_programs, failures = time.perf_counter(), 0, 0, 0
    for seed in seeds:
        network = draw_network(seed)
        if given.source:
            print(network.source())
        print(json.dumps({"seed": seed}), flush=True)
        for _ in range(given.repeat):
            faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
            verdict = check(network, given.stock)
            if verdict.wrong:
                break
        tried, on_programs = tried + 1, on_programs + bool(verdict.accelerated)
        if verdict.wrong:
            failures += 1
            report = {"failed": seed, "wrong": verdict.wrong, "nearest": verdict.nearest}
            if given.minimise:
                faulthandler.dump_traceback_later(10 * HANGS_AFTER, exit=True)

                def fails(smaller, sort=verdict.sort):
                    return any(check(smaller, given.stock).sort == sort for _ in range(given.repeat))

                smallest = minimise(network, fails)
                report |= {"smallest": repr(smallest), "source": smallest.source().split("\n\n\n", 1)[-1]}
                report["then"] = check(smallest, given.stock).wrong
            print(json.dumps(report), flush=True)
    faulthandler.cancel_dump_traceback_later()
    seconds = time.perf_counter() - began
    summary = {"tried": tried, "on programs": on_programs, "failures": failures, "seconds": round(seconds, 1)}
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
