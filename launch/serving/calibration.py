"""Training images for the calibration of 8 bits."""

import numpy as np

from cellwright.dataloader import BadImage
from cellwright.dataloader.decode.picture import open_picture
from cellwright.launch.serving.pictures import Cut

_BATCH = 32


def calibration_batches(trained, source, count):
    """Iterates over float32 (N, 3, S, S), normalised: `count` images of a source at equal distances, cut as evaluation
    of the Trained cuts them.
    """
    source.prepare()
    cut = Cut(trained.transform)
    mean, std = (np.asarray(value, np.float32).reshape(1, 3, 1, 1) for value in trained.normalisation)
    chosen = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int).tolist()
    made = []
    for place, sample in enumerate(chosen, 1):
        try:
            made.append(cut(open_picture(source.read(sample), source.notes(sample)).pixels()[0]))
        except (BadImage, OSError):
            pass  # the run has told of such files
        if made and (len(made) == _BATCH or place == len(chosen)):
            yield (np.stack(made).transpose(0, 3, 1, 2).astype(np.float32) - mean) / std
            made = []
