"""Which cells of a network train and which evaluate: kept, compared and set back."""


class TrainingModes:
    """The training mode of every cell within some cells, as it is now; `restore()` sets it back.

    `now()` returns the modes of the moment, a tuple that can be compared. Entered as a context manager, the cells are
    restored on leaving, whatever happened inside.
    """

    def __init__(self, *cells):
        self.cells = list({id(part): part for cell in cells for _, part in cell.cells_and_names()}.values())
        self.modes = self.now()

    def now(self) -> tuple:
        return tuple(part.training for part in self.cells)

    def restore(self) -> None:
        for part, mode in zip(self.cells, self.modes):
            if part.training != mode:
                # For this cell alone: set_train goes down to its children.
                part.add_flags(training=mode)
                part.phase = "train" if mode else "predict"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.restore()
