"""What a sample holds beside its picture and its label: masks, boxes, further pictures, numbers.

A source's `read` then returns a dict: "image", and a value by the name of each field. What is cut, resized and mirrored
in the picture is so in its fields.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Where a result of side x side pixels lies in its picture: the box (top, left) to (top + height, left + width), in
    pixels, perhaps beyond the border; then mirrored or not.
    """

    top: float
    left: float
    height: float
    width: float
    mirrored: bool
    side: int

    def rows(self):
        """Returns the source's row for each row of the result, int64 (side,)."""
        return np.floor(self.top + (np.arange(self.side) + 0.5) * (self.height / self.side)).astype(np.int64)

    def columns(self):
        """Returns the source's column for each column of the result, int64 (side,)."""
        found = np.floor(self.left + (np.arange(self.side) + 0.5) * (self.width / self.side)).astype(np.int64)
        return found[::-1] if self.mirrored else found


@dataclass(frozen=True)
class Mask:
    """A mask (H, W) of the picture's size -> (S, S) of `dtype`: the nearest pixels, `fill` beyond the border."""

    name: str = "mask"
    dtype: str = "uint8"
    fill: int = 0
    moves_with_picture = True

    def shape(self, side):
        return side, side

    def write(self, mask, picture, geometry, out):
        """Writes the mask of a picture to `out`; ValueError for one of another size."""
        mask = np.asarray(mask)
        if mask.shape != (picture.height, picture.width):
            raise ValueError(f"shape {mask.shape} for a picture of {(picture.height, picture.width)}")
        rows, columns = geometry.rows(), geometry.columns()
        inside = (rows >= 0) & (rows < mask.shape[0]), (columns >= 0) & (columns < mask.shape[1])
        out[:] = self.fill
        out[np.ix_(*inside)] = mask[np.ix_(rows[inside[0]], columns[inside[1]])]


@dataclass(frozen=True)
class Boxes:
    """Boxes (n, 4 + columns) of x0, y0, x1, y1 in the picture's pixels, and columns such as a class -> (most, 5 +
    columns) float32, in pixels of the result, clipped to it; the last column is 1 for a box and 0 for an empty row.

    least: the share of its area that a box must keep to stay. ValueError for more than `most`.
    """

    most: int
    name: str = "boxes"
    columns: int = 0
    least: float = 0.1
    dtype = "float32"
    moves_with_picture = True

    def shape(self, side):
        return self.most, 5 + self.columns

    def write(self, boxes, picture, geometry, out):
        """Writes the boxes of a picture to `out`."""
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4 + self.columns)
        if len(boxes) > self.most:
            raise ValueError(f"{len(boxes)} boxes, and most={self.most}")
        across, down = geometry.side / geometry.width, geometry.side / geometry.height
        corners = (boxes[:, :4] - np.float32([geometry.left, geometry.top] * 2)) * np.float32([across, down] * 2)
        if geometry.mirrored:
            corners[:, [0, 2]] = geometry.side - corners[:, [2, 0]]
        clipped = corners.clip(0, geometry.side)
        whole, kept = (np.prod(part[:, 2:] - part[:, :2], axis=1) for part in (corners, clipped))
        stays = (kept > 0) & (kept >= self.least * whole)
        out[:] = 0
        rows = out[: stays.sum()]
        rows[:, :4], rows[:, 4:-1], rows[:, -1] = clipped[stays], boxes[stays, 4:], 1


@dataclass(frozen=True)
class Numbers:
    """An array of a fixed shape, as it is: targets, embeddings, other labels."""

    name: str
    size: tuple = ()
    dtype: str = "float32"
    moves_with_picture = False

    def shape(self, side):
        return tuple(self.size)

    def write(self, value, picture, geometry, out):
        """Writes the value of a sample to `out`; ValueError for one of another shape."""
        if np.shape(value) != out.shape:
            raise ValueError(f"shape {np.shape(value)} for {out.shape}")
        out[...] = value


@dataclass(frozen=True)
class Picture:
    """A further picture through the same transform, of the form of `images`.

    of: the value that it is made of, by default the one of its own name. own_draws: with random numbers of its own:
    two views of one picture are `Picture("view", of="image", own_draws=True)`; else it gets the first picture's crop,
    mirror and colours, and must be of its size.
    """

    name: str
    of: str | None = None
    own_draws: bool = False
    moves_with_picture = False

    @property
    def source(self):
        """The name of the value that it is made of."""
        return self.of or self.name


def check_fields(fields):
    """Raises ValueError for two fields of one name, and TypeError for what is no field."""
    for field in fields:
        if not isinstance(field, (Mask, Boxes, Numbers, Picture)):
            raise TypeError(f"fields: {field!r} is none of Mask, Boxes, Numbers, Picture")
    names = ["image", *(field.name for field in fields)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"fields: {twice!r} is there twice")
