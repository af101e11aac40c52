"""One run of a speedrun by this project, in a process of its own; prints a report as its last line.

python -m cellwright.launch.speedrun.ours JOB, where JOB is JSON.
"""

import json
import sys
from pathlib import Path

from cellwright.launch.bench import own_process
from cellwright.launch.host import runtime
from cellwright.launch.speedrun.recipe import MEAN, STD, Recipe, process_seconds
from cellwright.launch.speedrun.records import Records

WARM_STEPS = 3  # of the run that compiles
PIXELS = (MEAN,) * 3, (STD,) * 3


def train(job, recipe):
    """Trains and evaluates; returns (top-1 in percent, seconds from the process's start to the first step, to the end
    of training, to the end of evaluation, what it computed in).
    """
    from cellwright.dataloader import EvalTransform, Loader, TrainTransform, start_forkserver

    start_forkserver()
    own_process.start("ours", job["seed"])
    drawn = TrainTransform(32, crop="pad", crop_padding=recipe.padding)
    training, held_back = (Records(job["data_path"], split, job["tune"]) for split in ("train", "test"))
    with (
        Loader(training, recipe.batch_size, drawn, seed=job["seed"], workers=1) as loader,
        Loader(held_back, recipe.batch_size, EvalTransform(32, resize="direct"), workers=1) as batches,
    ):
        step, evaluate = _build(recipe, job["amp_level"])
        marks, steps, done = [process_seconds()], recipe.epochs * len(loader), 0
        for epoch in range(recipe.epochs):
            for batch in loader.epoch(epoch):
                report = step(*batch, lr=recipe.rate(done, steps))
                done += 1
                if job["warm"] and done == WARM_STEPS:
                    break
            sys.stderr.write(f"epoch {epoch + 1}: loss {report.loss:.4f}, {process_seconds():.1f} s\n")
            if job["warm"]:
                break
        marks.append(process_seconds())
        top1 = 100 * evaluate(batches.epoch(0)).top1
        return top1, [*marks, process_seconds()], step.settings["amp_dtype"]


def _build(recipe, amp_level):
    """Returns (the train step, the Evaluator). amp_level "auto" is bfloat16 where a trial finds that this machine
    convolves it faster than float32.
    """
    from cellwright.engine import Evaluator, Momentum, SoftmaxCrossEntropy, TrainOneStep
    from cellwright.kernels.compiler import accelerate, forms, program_keys
    from cellwright.kernels.nodes import AllFinite, MomentumStep
    from cellwright.launch.speedrun.network import Mirrored, SpeedrunNet

    network = accelerate(SpeedrunNet(recipe.widths))
    loss = SoftmaxCrossEntropy(10, 0.9 * recipe.smooth)  # PyTorch gives the true class its tenth of the share too
    decay = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay, "nesterov": True}
    optimizer = Momentum(network.trainable_params(), **decay, kernel=MomentumStep)
    if amp_level == "auto":
        amp_level = "O2" if forms.advantage() > 1 else "O0"
    step = TrainOneStep(network, loss, optimizer, normalise=PIXELS, amp_level=amp_level, finite_kernel=AllFinite())
    # The seed is left out, so that the first run compiles for all: nothing that is drawn from it is in the graphs.
    source = Path(__file__).with_name("network.py").read_text(encoding="utf-8")
    runtime.use_compile_cache(runtime.graph_cache_folder(0, 1, (source, recipe, amp_level, program_keys(network))))
    return step, Evaluator(Mirrored(network), loss, normalise=PIXELS)


def main():
    job = json.loads(sys.argv[1])
    top1, marks, dtype = train(job, Recipe(**job["recipe"]))
    print(json.dumps({"top1": top1, "marks_s": marks, "dtype": dtype, "seconds": process_seconds()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
