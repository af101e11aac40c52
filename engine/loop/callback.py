"""What a Trainer calls while it runs."""


class Callback:
    """Base of what a Trainer calls; override what is needed. All ranks call them in the same order."""

    def on_step(self, trainer, record: dict) -> None:
        """After each update, with its record (see loop/metrics.py); `trainer.report` is the StepReport, with aux."""

    def on_epoch(self, trainer, epoch: int) -> None:
        """After each epoch, its evaluation and its checkpoint."""

    def on_evaluation(self, trainer, epoch: int, result) -> None:
        """After each evaluation, with what the evaluator returned."""

    def on_checkpoint(self, trainer, path) -> None:
        """After each checkpoint, with its folder."""
