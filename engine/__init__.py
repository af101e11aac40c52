"""The train step built by hand, the loop around it, evaluation and checkpoints."""

from cellwright.engine.debug.crash_dump import Capsule, Diverged, read_capsule, replay
from cellwright.engine.loop.checkpoint import Checkpoints
from cellwright.engine.loop.curves import write_curves
from cellwright.engine.loop.evaluate import EvalResult, Evaluator
from cellwright.engine.loop.position import Position
from cellwright.engine.loop.trainer import Callback, Trainer
from cellwright.engine.profiling import profile
from cellwright.engine.step.bucket import explain_buckets, plan_buckets
from cellwright.engine.step.lars import LARS
from cellwright.engine.step.loss import SoftmaxCrossEntropy
from cellwright.engine.step.loss_scale import LossScale
from cellwright.engine.step.momentum import Momentum
from cellwright.engine.step.sync_norm import synchronise_batch_norm
from cellwright.engine.step.train_step import StepReport, TrainOneStep

__all__ = [
    "Callback",
    "Capsule",
    "Checkpoints",
    "Diverged",
    "EvalResult",
    "Evaluator",
    "LARS",
    "LossScale",
    "Momentum",
    "Position",
    "SoftmaxCrossEntropy",
    "StepReport",
    "TrainOneStep",
    "Trainer",
    "explain_buckets",
    "plan_buckets",
    "profile",
    "read_capsule",
    "replay",
    "synchronise_batch_norm",
    "write_curves",
]
