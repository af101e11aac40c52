"""What is done to a picture on its way into the batch."""

import math
import warnings
from dataclasses import InitVar, dataclass, field

from cellwright.dataloader.fields import check_fields
from cellwright.dataloader.sources.source import importable
from cellwright.kernels.image.policy import BINS, MOST_OPERATIONS

CROPS = ("random_resized", "pad", "none")
RESIZES = ("shorter", "squash", "direct")
POLICIES = ("none", "rand", "trivial")
MOST_ALPHA = 2.0


def _reject(name, value, allowed):
    raise ValueError(f"{name}={value!r}: allowed is {allowed}")


def _flag(default, help, choices=None):
    """A field that is a setting of a training run too: `launch` makes its flag of the name, type, default and help."""
    return field(default=default, metadata={"help": help, "choices": choices})


def _check_custom(custom):
    if custom is None:
        return
    if not callable(custom):
        _reject("custom", custom, "a function of (image, random)")
    importable(getattr(custom, "py_func", custom))


@dataclass(frozen=True)
class TrainTransform:
    """What is drawn for each training picture: crop, mirror, colours, erasing, mixing; the result is (image_size,
    image_size, 3).

    crop: "random_resized" takes a box of `crop_scale` of the area and an aspect ratio in `crop_ratio`; "pad"
    shifts the image by up to `crop_padding` pixels with zeros beyond its border; "none" takes it whole. All are then
    resized (bilinear) to `image_size` where needed. flip: probability of mirroring. jitter: half widths for
    brightness, contrast, saturation (0-1) and hue (0-0.5). cutout: side in pixels of the square set to
    `cutout_fill` (0: none). antialias: average over the source when shrinking, as torchvision does with antialias=True.
    policy: "rand" does `policy_operations` of RandAugment's operations at `policy_magnitude` (0 to 30), "trivial"
    one of TrivialAugment's. erasing: probability of setting a box of `erasing_scale` of the area and an aspect ratio
    in `erasing_ratio` to `cutout_fill`. mixup, cutmix: their alpha (0: none); both are done in the finished batch,
    each picture with the one at the same place from the batch's other end; with both, one is drawn for each picture.
    custom: a function of a module, (image, random), called last on each (S, S, 3) uint8 picture, which it changes in
    place; random: a numpy Generator of this sample in this epoch. numba functions take both. fields: what a sample
    holds beside picture and label, see dataloader/fields.py; they move as the picture does.
    """

    image_size: int = 224
    crop: str = _flag("random_resized", "how training images are cut", CROPS)
    crop_scale: tuple[float, float] = _flag((0.08, 1.0), "share of the area that random_resized keeps")
    crop_ratio: tuple[float, float] = _flag((3 / 4, 4 / 3), "width over height of what it keeps")
    crop_padding: int = _flag(4, "pixels of zeros on each side before `pad` cuts the image's own size out")
    flip: float = _flag(0.5, "probability of a left-right flip")
    jitter: tuple[float, float, float, float] = _flag((0.0, 0.0, 0.0, 0.0), "brightness, contrast, saturation, hue")
    cutout: int = _flag(0, "side of the square that is blanked, in pixels; 0: none")
    cutout_fill: tuple[int, int, int] = _flag((0, 0, 0), "colour of what is blanked, 0 to 255")
    antialias: bool = _flag(False, "average over the source where training images shrink, as torchvision does")
    policy: str = _flag("none", "rand: RandAugment; trivial: TrivialAugment", POLICIES)
    policy_operations: int = _flag(2, "RandAugment's operations on each image")
    policy_magnitude: int = _flag(9, "RandAugment's magnitude, 0 to 30")
    erasing: float = _flag(0.0, "probability of random erasing")
    erasing_scale: tuple[float, float] = _flag((0.02, 0.33), "share of the area that random erasing blanks")
    erasing_ratio: tuple[float, float] = _flag((0.3, 3.3), "width over height of what it blanks")
    mixup: float = _flag(0.0, "alpha of mixup, 0.2 is usual for ImageNet; 0: none")
    cutmix: float = _flag(0.0, "alpha of CutMix, 1 is usual; 0: none; with mixup too, each image draws one of them")
    custom: object = None
    fields: tuple = ()
    pad: InitVar[int | None] = None  # what crop_padding was called in 0.2
    train = True

    def __post_init__(self, pad):
        if pad is not None:
            warnings.warn("pad is now crop_padding; the old name goes with the next release", DeprecationWarning, 3)
            object.__setattr__(self, "crop_padding", pad)
        if self.image_size < 1:
            _reject("image_size", self.image_size, "1 and more")
        if self.crop not in CROPS:
            _reject("crop", self.crop, ", ".join(CROPS))
        for name in ("crop_scale", "crop_ratio", "erasing_scale", "erasing_ratio"):
            if len(getattr(self, name)) != 2:
                _reject(name, getattr(self, name), "two numbers")
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            _reject("crop_scale", self.crop_scale, "0 < low <= high <= 1")
        low, high = self.crop_ratio
        if not 0 < low <= high < math.inf:
            _reject("crop_ratio", self.crop_ratio, "0 < low <= high")
        if not 0 <= self.flip <= 1:
            _reject("flip", self.flip, "0 to 1")
        if self.crop_padding < 0:
            _reject("crop_padding", self.crop_padding, "0 and more")
        jitter = tuple(float(x) for x in self.jitter) + (0.0,) * (4 - len(self.jitter))
        if len(jitter) != 4 or min(jitter) < 0 or max(jitter[:3]) > 1 or jitter[3] > 0.5:
            _reject("jitter", self.jitter, "brightness, contrast, saturation in 0 to 1 and hue in 0 to 0.5")
        object.__setattr__(self, "jitter", jitter)
        if not 0 <= self.cutout <= self.image_size:
            _reject("cutout", self.cutout, f"0 to image_size={self.image_size}")
        fill = tuple(int(x) for x in self.cutout_fill)
        if len(fill) != 3 or min(fill) < 0 or max(fill) > 255:
            _reject("cutout_fill", self.cutout_fill, "three values in 0 to 255")
        self._check_policies()
        _check_custom(self.custom)
        self._check_fields()

    def _check_policies(self):
        if self.policy not in POLICIES:
            _reject("policy", self.policy, ", ".join(POLICIES))
        if not 1 <= self.policy_operations <= MOST_OPERATIONS:
            _reject("policy_operations", self.policy_operations, f"1 to {MOST_OPERATIONS}")
        if not 0 <= self.policy_magnitude < BINS:
            _reject("policy_magnitude", self.policy_magnitude, f"0 to {BINS - 1}")
        if not 0 <= self.erasing <= 1:
            _reject("erasing", self.erasing, "0 to 1")
        low, high = self.erasing_scale
        if not 0 < low <= high <= 1:
            _reject("erasing_scale", self.erasing_scale, "0 < low <= high <= 1")
        low, high = self.erasing_ratio
        if not 0 < low <= high < math.inf:
            _reject("erasing_ratio", self.erasing_ratio, "0 < low <= high")
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) <= MOST_ALPHA:
                _reject(name, getattr(self, name), f"0 to {MOST_ALPHA:g}")

    def _check_fields(self):
        check_fields(self.fields)
        if self.fields and (self.mixup or self.cutmix):
            raise ValueError("fields: mixup and CutMix mix pictures and labels, and no fields")
        if self.policy != "none" and any(field.moves_with_picture for field in self.fields):
            raise ValueError(f"fields: policy={self.policy!r} shears and turns the picture, masks and boxes would stay")

    @property
    def _changes_pixels(self):
        return any(self.jitter) or self.cutout > 0 or self.policy != "none" or self.erasing > 0 or self.custom

    def keeps_pixels(self, side):
        """True where pictures of `side` x `side` are at most moved and mirrored."""
        return self.crop != "random_resized" and self.image_size == side and not (self._changes_pixels or self.fields)


@dataclass(frozen=True)
class EvalTransform:
    """Resize and centre crop for evaluation; the result is (image_size, image_size, 3).

    resize: "shorter" brings the shorter side to `resize_size` and keeps the aspect ratio, "squash" brings
    both sides to it, "direct" both to `image_size` without a crop. antialias: average over the source when
    shrinking. custom, fields: as in `TrainTransform`.
    """

    image_size: int = 224
    resize: str = "shorter"
    resize_size: int = 0
    antialias: bool = False
    custom: object = None
    fields: tuple = ()
    train = False

    def __post_init__(self):
        if self.image_size < 1:
            _reject("image_size", self.image_size, "1 and more")
        if self.resize not in RESIZES:
            _reject("resize", self.resize, ", ".join(RESIZES))
        if not self.resize_size:
            # 256 for 224, as all four nets' originals do.
            size = self.image_size if self.resize == "direct" else round(self.image_size * 256 / 224)
            object.__setattr__(self, "resize_size", size)
        if self.resize != "direct" and self.resize_size < self.image_size:
            _reject("resize_size", self.resize_size, f"image_size={self.image_size} and more")
        _check_custom(self.custom)
        check_fields(self.fields)

    def resized(self, height, width):
        """(height, width) in pixels after the resize, before the crop."""
        if self.resize == "direct":
            return self.image_size, self.image_size
        if self.resize == "squash":
            return self.resize_size, self.resize_size
        if height <= width:
            return self.resize_size, max(self.resize_size, int(width * self.resize_size / height))
        return max(self.resize_size, int(height * self.resize_size / width)), self.resize_size

    def keeps_pixels(self, side):
        """True where pictures of `side` x `side` stay as they are."""
        return self.resize == "direct" and self.image_size == side and not (self.custom or self.fields)
