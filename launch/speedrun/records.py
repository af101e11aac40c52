"""The images of a speedrun as a source of the loader's."""

from cellwright.dataloader import Source
from cellwright.kernels.image.records import record_image
from cellwright.launch.speedrun.images import read_records


class Records(Source):
    """The records of one split, see `read_records`; the pictures are read where the workers are forked from."""

    classes = tuple(str(label) for label in range(10))
    encoded = False

    def __init__(self, *where):
        self.where = where
        self.labels = read_records(*where)[:, 0].astype("int32")

    def path(self, sample):
        return f"{self.where[0]}#{sample}"

    def read(self, sample):
        return record_image(self.records[sample])

    def prepare(self):
        if self.records is None:
            self.records = read_records(*self.where)
