"""TensorBoard events of a run, by tensorboardX."""


def open_events(folder):
    """Returns a tensorboardX.SummaryWriter for a folder; ValueError where tensorboardX is not installed."""
    check_tensorboard()
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder))


def check_tensorboard() -> None:
    """Raises ValueError where tensorboardX is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise ValueError("tensorboard: needs tensorboardX; pip install 'cellwright[tensorboard]'") from None
