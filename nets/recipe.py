"""The form of a recipe: every number of a network's training, and its learning rates."""

from dataclasses import dataclass, field

import numpy as np

from cellwright.nets import learning_rate as schedule
from cellwright.nets.mindcv_networks import PREFIX

SCHEDULES = ("exponential", "cosine_annealing", "cosine", "linear", "linear_cosine", "quadratic")
AMP_LEVELS = ("O0", "O2", "O3")
OPTIMIZERS = ("momentum", "lars", "adamw")


def _setting(default, help, choices=None):
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run that belong to the network; `dataclasses.replace` checks them again.

    Images are RGB; `mean` and `std` are in units of 0 to 255; batch sizes are for each device.
    ValueError names the setting, its value and what is allowed. augmentation: settings of the loader's TrainTransform
    by name, where the network was trained by others than that one's defaults; the loader, which does it, checks them.
    """

    net: str = _setting("densenet121", "the network that the recipe is for")
    dataset: str = _setting("imagenet2012", "the images that the recipe was made for")
    num_classes: int = _setting(1000, "number of classes")
    image_size: int = _setting(224, "height and width of the network's images in pixels")
    network_settings: dict = field(default_factory=dict)

    epochs: int = _setting(90, "passes over the training images")
    batch_size: int = _setting(32, "images in a batch of one device")
    lr_scheduler: str = _setting("cosine_annealing", "how the learning rate falls", SCHEDULES)
    lr: float = _setting(0.1, "highest learning rate")
    lr_reference_batch: int | None = _setting(
        None, "global batch that the learning rates are meant for: another one scales them linearly; none: as they are"
    )
    lr_end: float = _setting(0.0, "learning rate at the end (both cosines, linear)")
    lr_epochs: tuple[int, ...] = _setting((30, 60, 90, 120), "epochs at which `exponential` drops")
    lr_gamma: float = _setting(0.1, "factor of a drop")
    t_max: int | None = _setting(None, "epochs to the lowest point of `cosine_annealing`; none: all of them")
    warmup_epochs: int = _setting(0, "epochs of linear rise before the schedule")
    warmup_lr: float = _setting(0.0, "learning rate at which the rise begins")
    hold_epochs: int = _setting(0, "epochs at the highest rate after the rise")
    optimizer: str = _setting("momentum", "lars is for large batches; another one wants a --lr of its own", OPTIMIZERS)
    momentum: float = _setting(0.9, "momentum of SGD")
    weight_decay: float = _setting(1e-4, "factor of the parameters that is added to their gradients")
    no_decay_rule: str = _setting(
        "suffix", "bias, gamma and beta are not decayed: where the name ends so, or has it", ("suffix", "substring")
    )

    label_smooth_factor: float = _setting(0.0, "share of the target that is spread over the classes; 0: none")
    smooth_off: str = _setting(
        "K-1", "classes that share it: the other K-1, or K with 1-s left for the true one", ("K-1", "K")
    )
    loss_scale: float = _setting(1024.0, "factor of the loss in the backward pass, where it is fixed")
    dynamic_loss_scale: bool = _setting(False, "let the loss scale rise and fall")
    dynamic_loss_scale_init: float = _setting(65536.0, "first scale of a dynamic one")
    dynamic_loss_scale_window: int = _setting(2000, "steps without overflow until a dynamic scale doubles")
    amp_ascend: str = _setting("O0", "precision on Ascend", AMP_LEVELS)
    amp_gpu: str = _setting("O0", "precision on GPU", AMP_LEVELS)
    amp_cpu: str = _setting("O0", "precision on CPU", AMP_LEVELS)
    keep_batchnorm_fp32: bool = _setting(True, "False: O2 takes batch normalisation to float16 too, which is O3")

    augmentation: dict = field(default_factory=dict)
    eval_resize: str = _setting("shorter", "evaluation: shorter side, both sides, or straight to image_size")
    eval_crop_ratio: float = _setting(0.875, "share of the resized side that the centre crop of evaluation keeps")
    mean: tuple[float, float, float] = _setting((123.675, 116.28, 103.53), "of each channel, in units of 0 to 255")
    std: tuple[float, float, float] = _setting((58.395, 57.12, 57.375), "of each channel, in units of 0 to 255")

    checkpoint_interval_epochs: int = _setting(5, "epochs between checkpoints")
    keep_checkpoint_max: int = _setting(10, "checkpoints that are kept")

    def __post_init__(self):
        for name, spec in self.__dataclass_fields__.items():
            choices = spec.metadata.get("choices")
            if choices and getattr(self, name) not in choices:
                self._refuse(name, f"one of {', '.join(choices)}")
            if getattr(self, name) in (np.inf, -np.inf):
                self._refuse(name, "finite")
        least = {
            "num_classes": 1, "image_size": 1, "epochs": 1, "batch_size": 1, "lr_reference_batch": 1, "t_max": 1,
            "warmup_epochs": 0, "hold_epochs": 0, "lr_end": 0, "warmup_lr": 0, "weight_decay": 0,
            "dynamic_loss_scale_window": 1, "checkpoint_interval_epochs": 1, "keep_checkpoint_max": 1,
        }  # fmt: skip
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not value >= bound:
                self._refuse(name, f"at least {bound}")
        for name in ("lr", "lr_gamma", "loss_scale", "dynamic_loss_scale_init"):
            if not getattr(self, name) > 0:
                self._refuse(name, "more than 0")
        for name in ("momentum", "label_smooth_factor"):
            if not 0 <= getattr(self, name) < 1:
                self._refuse(name, "in [0, 1)")
        if not 0 < self.eval_crop_ratio <= 1:
            self._refuse("eval_crop_ratio", "in (0, 1]")
        if list(self.lr_epochs) != sorted(set(self.lr_epochs)):
            self._refuse("lr_epochs", "rising")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                self._refuse(name, "3 numbers")
        if min(self.std) <= 0:
            self._refuse("std", "more than 0")
        if self.warmup_epochs + self.hold_epochs > self.epochs:
            self._refuse("warmup_epochs", f"with hold_epochs={self.hold_epochs} at most epochs={self.epochs}")

    def _refuse(self, name, allowed):
        raise ValueError(
            f"{name}={getattr(self, name)!r} in the recipe of {self.net} for {self.dataset}: must be {allowed}"
        )

    @property
    def published(self):
        """Whether these numbers were published for this network and data set: for cifar10 with vgg16 alone."""
        return self.net == "vgg16" or (self.dataset == "imagenet2012" and not self.net.startswith(PREFIX))

    @property
    def eval_resize_size(self):
        """Side in pixels to which evaluation resizes before it cuts out the centre: 256 at 224."""
        return self.image_size if self.eval_resize == "direct" else round(self.image_size / self.eval_crop_ratio)

    def amp_level(self, device_target):
        """Returns the level that is really run on "Ascend", "GPU" or "CPU": O0, O2 or O3."""
        levels = {"Ascend": self.amp_ascend, "GPU": self.amp_gpu, "CPU": self.amp_cpu}
        if device_target not in levels:
            raise ValueError(f"device_target={device_target!r} is not one of {', '.join(levels)}")
        level = levels[device_target]
        return "O3" if level == "O2" and not self.keep_batchnorm_fp32 else level

    def decays(self, parameter_name):
        """Returns whether weight decay applies to the parameter: to all but biases, gammas and betas."""
        if self.no_decay_rule == "suffix":
            return not parameter_name.endswith((".bias", ".gamma", ".beta"))
        return not any(word in parameter_name for word in ("bias", "gamma", "beta"))

    def rate_factor(self, global_batch):
        """Returns by what the learning rates are multiplied for a batch of so many images over all ranks.

        The linear rule of Goyal et al., 2017, arXiv:1706.02677: global_batch / lr_reference_batch.
        """
        return global_batch / self.lr_reference_batch if self.lr_reference_batch else 1.0

    def learning_rates(self, steps_per_epoch, global_batch=None):
        """Returns the learning rate of every step, float32, shape (epochs x steps_per_epoch,).

        The epoch-wise schedules count epochs from the start of the run, the others from the end of warm-up
        and hold. global_batch: images in a step over all ranks, see `rate_factor`; none: rates are not scaled.
        """
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch={steps_per_epoch!r}: must be at least 1")
        total = self.epochs * steps_per_epoch
        step = np.arange(total)
        epoch = step // steps_per_epoch
        rise = self.warmup_epochs * steps_per_epoch
        begin = rise + self.hold_epochs * steps_per_epoch
        rest, left = max(total - begin, 1), step - begin
        if self.lr_scheduler == "exponential":
            rates = schedule.exponential(epoch, self.lr, self.lr_epochs, self.lr_gamma)
        elif self.lr_scheduler == "cosine_annealing":
            rates = schedule.cosine(epoch, self.t_max or self.epochs, self.lr, self.lr_end)
        elif self.lr_scheduler == "cosine":
            rates = schedule.cosine(left, rest, self.lr, self.lr_end)
        elif self.lr_scheduler == "linear":
            rates = schedule.linear(left, rest, self.lr, self.lr_end)
        elif self.lr_scheduler == "linear_cosine":
            rates = schedule.linear_cosine(left, rest, self.lr)
        else:
            rates = schedule.quadratic(left, rest, self.lr)
        if rise:
            # The two epoch-wise recipes take their first step one up the line, the others at its foot.
            first = int(self.lr_scheduler in ("exponential", "cosine_annealing"))
            rates[:rise] = schedule.linear(step[:rise] + first, rise, self.warmup_lr, self.lr)
        rates[rise:begin] = self.lr
        return (rates * (self.rate_factor(global_batch) if global_batch else 1.0)).astype(np.float32)
