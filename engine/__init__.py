"""The train step built by hand, the loop around it, evaluation and checkpoints."""

from engine.bucket import explain_buckets, plan_buckets
from engine.capsule import Capsule, Diverged, read_capsule, replay
from engine.checkpoint import Checkpoints
from engine.curves import write_curves
from engine.evaluate import EvalResult, Evaluator
from engine.lars import LARS
from engine.loss import SoftmaxCrossEntropy
from engine.optimizer import Momentum
from engine.position import Position
from engine.profiling import profile
from engine.scale import LossScale
from engine.step import StepReport, TrainOneStep
from engine.sync_norm import synchronise_batch_norm
from engine.trainer import Callback, Trainer

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
