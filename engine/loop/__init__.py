"""What runs around the step on the host: trainer, evaluation, checkpoints, metrics, progress."""
