"""The course of a run for a tracker: one call of `log(dict)` for each step and each evaluation."""

from cellwright.engine.loop.callback import Callback
from cellwright.engine.loop.evaluate import EvalResult

_OF_A_STEP = ("loss", "lr", "loss_scale", "step_ms", "wait_ms", "images_per_s")


class LogTo(Callback):
    """Callback of a Trainer that calls `log` with a flat dict of numbers: `Trainer(..., callbacks=[LogTo(wandb.log)])`.

    After each update {"step", "epoch", "train/loss", "train/lr", ...} (see loop/metrics.py), after each evaluation
    {"step", "epoch", "eval/top1", "eval/top5", "eval/loss"}, shares from 0 to 1 (or
    the metrics of a MetricEvaluator); with averaged weights
    "eval_averaged/..." too. interval: steps between two calls. On rank 0 alone.
    """

    def __init__(self, log, interval=1):
        if interval < 1:
            raise ValueError(f"interval = {interval}: must be >= 1 step")
        self.log, self.interval = log, interval
        self._step = 0

    def on_step(self, trainer, record):
        self._step = record["step"]
        if trainer.rank == 0 and (record["step"] + 1) % self.interval == 0:
            numbers = {f"train/{name}": record[name] for name in _OF_A_STEP}
            self.log({"step": record["step"], "epoch": record["epoch"], **numbers})

    def on_evaluation(self, trainer, epoch, result):
        if trainer.rank:
            return
        numbers = {"step": self._step, "epoch": epoch, **_numbers("eval", result)}
        if trainer.averaged_evaluation is not None:
            numbers |= _numbers("eval_averaged", trainer.averaged_evaluation)
        self.log(numbers)


def _numbers(name, result):
    if not isinstance(result, EvalResult):
        return {f"{name}/{metric}": value for metric, value in result.numbers().items()}
    return {f"{name}/top1": result.top1, f"{name}/top5": result.top5, f"{name}/loss": result.loss}
