"""The train step built by hand, the loop around it, evaluation and checkpoints."""

from engine.bucket import explain_buckets, plan_buckets
from engine.checkpoint import Checkpoints
from engine.evaluate import EvalResult, Evaluator
from engine.loss import SoftmaxCrossEntropy
from engine.optimizer import Momentum
from engine.position import Position
from engine.scale import LossScale
from engine.step import StepReport, TrainOneStep
from engine.trainer import Callback, Trainer

__all__ = [
    "Callback",
    "Checkpoints",
    "EvalResult",
    "Evaluator",
    "LossScale",
    "Momentum",
    "Position",
    "SoftmaxCrossEntropy",
    "StepReport",
    "TrainOneStep",
    "Trainer",
    "explain_buckets",
    "plan_buckets",
]
