"""The train step built by hand, the loop around it, evaluation and checkpoints."""

import warnings

from cellwright.engine.debug.crash_dump import CrashDump, read_crash_dump, replay, write_crash_dump
from cellwright.engine.debug.divergence import Diverged
from cellwright.engine.loop.callback import Callback
from cellwright.engine.loop.checkpoint import Checkpoints
from cellwright.engine.loop.curves import write_curves
from cellwright.engine.loop.evaluate import EvalResult, Evaluator
from cellwright.engine.loop.log_to import LogTo
from cellwright.engine.loop.metric_evaluator import MeanMetric, Metric, MetricEvaluator, MetricResult
from cellwright.engine.loop.position import Position
from cellwright.engine.loop.trainer import Trainer
from cellwright.engine.profiling import profile
from cellwright.engine.step.adamw import AdamW
from cellwright.engine.step.bucket import explain_buckets, plan_buckets
from cellwright.engine.step.gradients import Gradients
from cellwright.engine.step.lars import LARS
from cellwright.engine.step.loss import SoftmaxCrossEntropy
from cellwright.engine.step.loss_scale import LossScale
from cellwright.engine.step.momentum import Momentum
from cellwright.engine.step.parameter_groups import ParameterGroup
from cellwright.engine.step.parameter_value import set_value
from cellwright.engine.step.report import StepReport
from cellwright.engine.step.sync_norm import synchronise_batch_norm
from cellwright.engine.step.train_step import TrainOneStep
from cellwright.engine.step.update import Update

__all__ = [
    "AdamW",
    "Callback",
    "Checkpoints",
    "CrashDump",
    "Diverged",
    "EvalResult",
    "Evaluator",
    "Gradients",
    "LARS",
    "LogTo",
    "LossScale",
    "MeanMetric",
    "Metric",
    "MetricEvaluator",
    "MetricResult",
    "Momentum",
    "ParameterGroup",
    "Position",
    "SoftmaxCrossEntropy",
    "StepReport",
    "TrainOneStep",
    "Trainer",
    "Update",
    "explain_buckets",
    "plan_buckets",
    "profile",
    "read_crash_dump",
    "replay",
    "set_value",
    "synchronise_batch_norm",
    "write_crash_dump",
    "write_curves",
]

# Names of 0.2, for one release.
_RENAMED = {
    "Capsule": CrashDump,
    "read_capsule": read_crash_dump,
    "write_capsule": write_crash_dump,
}


def __getattr__(name):
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _RENAMED[name]
    warnings.warn(f"engine.{name} is now engine.{new.__name__}", DeprecationWarning, stacklevel=2)
    return new
