"""The numbers with which the four networks were trained by their publishers, as recipes, and some for MindCV's."""

import dataclasses

from cellwright.nets.mindcv_networks import PREFIX, mindcv_image_size
from cellwright.nets.recipe import Recipe

# (mean, std) of R, G, B in units of 0 to 255.
NORMALISATIONS = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "cifar10": ((125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255)),
    # The zoo's VGG16 gave the statistics of blue to red and the other way round; a checkpoint of it wants
    # them so.
    "cifar10_reversed": ((113.8575, 122.961, 125.307), (51.255, 50.847, 51.5865)),
}

_DENSENET121 = Recipe(
    net="densenet121",
    epochs=120,
    batch_size=32,
    lr=0.1,
    lr_reference_batch=256,
    amp_ascend="O3",
    augmentation={"jitter": (0.4, 0.4, 0.4, 0.0)},
    eval_resize="squash",
    checkpoint_interval_epochs=10,
    keep_checkpoint_max=12,
)

_TINYDARKNET = Recipe(
    net="tinydarknet",
    epochs=500,
    batch_size=128,
    lr_scheduler="exponential",
    lr=0.1,
    lr_reference_batch=1024,
    lr_epochs=(70, 140, 210, 280),
    lr_gamma=0.3,
    t_max=150,
    label_smooth_factor=0.1,
    amp_ascend="O3",
    amp_gpu="O2",
    augmentation={"jitter": (0.4, 0.4, 0.4, 0.1)},
    checkpoint_interval_epochs=50,
)

_GENET = Recipe(
    net="genet",
    network_settings={"extra": True, "mlp": True},
    epochs=150,
    batch_size=256,
    lr_scheduler="linear",
    lr=0.8,
    lr_reference_batch=2048,
    no_decay_rule="substring",
    label_smooth_factor=0.1,
    smooth_off="K",
    amp_ascend="O2",
    keep_batchnorm_fp32=False,
    keep_checkpoint_max=5,
)

# What a genet without extra changes.
_THETA_MINUS = {"epochs": 220, "lr_scheduler": "linear_cosine"}

_VGG16_CIFAR10 = Recipe(
    net="vgg16",
    dataset="cifar10",
    num_classes=10,
    network_settings={
        "batch_norm": True,
        "has_bias": False,
        "has_dropout": False,
        "pad_mode": "same",
        "initialize_mode": "XavierUniform",
    },
    epochs=70,
    batch_size=64,
    lr_scheduler="quadratic",
    lr=0.1,
    lr_reference_batch=512,  # published for 64 and for 512 images alike: the gentler reading
    warmup_epochs=5,
    warmup_lr=0.01,
    weight_decay=5e-4,
    loss_scale=1.0,
    amp_ascend="O2",
    amp_gpu="O2",
    keep_batchnorm_fp32=False,
    augmentation={"crop": "pad"},
    eval_resize="direct",
    mean=NORMALISATIONS["cifar10"][0],
    std=NORMALISATIONS["cifar10"][1],
)

_VGG16_IMAGENET = Recipe(
    net="vgg16",
    network_settings={
        "batch_norm": False,
        "has_bias": True,
        "has_dropout": True,
        "pad_mode": "pad",
        "initialize_mode": "KaimingNormal",
    },
    epochs=150,
    batch_size=32,
    lr=0.01,
    lr_reference_batch=256,
    label_smooth_factor=0.1,
    amp_ascend="O2",
    amp_gpu="O2",
    eval_resize="squash",
)

# Numbers that many networks were trained with, residual ones above all: rate of Goyal et al., 2017, arXiv:1706.02677,
# epochs, cosine and smoothing of He et al., 2019, arXiv:1812.01187.
_MINDCV = Recipe(
    net=PREFIX,
    epochs=120,
    batch_size=32,
    lr_scheduler="cosine",
    lr=0.1,
    lr_reference_batch=256,
    label_smooth_factor=0.1,
)

_RECIPES = {
    ("densenet121", "imagenet2012"): _DENSENET121,
    ("tinydarknet", "imagenet2012"): _TINYDARKNET,
    ("genet", "imagenet2012"): _GENET,
    ("vgg16", "cifar10"): _VGG16_CIFAR10,
    ("vgg16", "imagenet2012"): _VGG16_IMAGENET,
}
DATASETS = ("imagenet2012", "cifar10")


def recipe_for(net, dataset="imagenet2012", *, extra=True, mlp=True, normalisation=None):
    """Returns the recipe with which `net` was published for `dataset`, "imagenet2012" or "cifar10".

    `extra` and `mlp` choose the form of genet: without `extra` it trained longer, by another schedule; other
    networks ignore them. A pair that nobody published (cifar10 with all but vgg16; `recipe.published` is
    False) gets the network's own optimizer with the images of the other data set; "mindcv:NAME" gets numbers that
    suit many networks. `normalisation` replaces mean and standard deviation: one of `nets.NORMALISATIONS`.
    """
    nets = sorted({name for name, _ in _RECIPES})
    if net not in nets and not net.startswith(PREFIX):
        raise ValueError(f"network {net!r} has no recipe: there is one for {', '.join(nets)}, {PREFIX}NAME")
    if dataset not in DATASETS:
        raise ValueError(f"dataset {dataset!r} has no recipe: there is one for {', '.join(DATASETS)}")
    recipe = _RECIPES.get((net, dataset))
    if recipe is None:
        recipe = _of_mindcv(net) if net.startswith(PREFIX) else _RECIPES[net, "imagenet2012"]
        recipe = recipe if dataset == "imagenet2012" else _with_cifar10_images(recipe)
    if net == "genet":
        if not extra:
            recipe = dataclasses.replace(recipe, **_THETA_MINUS)
        recipe = dataclasses.replace(recipe, network_settings={"extra": bool(extra), "mlp": bool(mlp)})
    if normalisation is not None:
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation {normalisation!r} is not one of {', '.join(NORMALISATIONS)}")
        mean, std = NORMALISATIONS[normalisation]
        recipe = dataclasses.replace(recipe, mean=mean, std=std)
    # Copies of the dicts, so that no caller can change another one's recipe.
    own = {name: dict(getattr(recipe, name)) for name in ("network_settings", "augmentation")}
    return dataclasses.replace(recipe, **own)


def _of_mindcv(net):
    return dataclasses.replace(_MINDCV, net=net, image_size=mindcv_image_size(net))


def _with_cifar10_images(recipe):
    mean, std = NORMALISATIONS["cifar10"]
    augmentation = {**recipe.augmentation, "crop": "pad"}
    if "jitter" in augmentation:
        augmentation["jitter"] = (*augmentation["jitter"][:3], 0.0)
    return dataclasses.replace(
        recipe,
        dataset="cifar10",
        num_classes=10,
        augmentation=augmentation,
        eval_resize="direct",
        mean=mean,
        std=std,
    )
