"""What the recipes say beside the learning rate, and what they refuse."""

import dataclasses

import pytest

from cellwright.nets import NORMALISATIONS, Recipe, create_network, recipe_for

ALL = [
    recipe_for(net, dataset)
    for net in ("densenet121", "tinydarknet", "genet", "vgg16")
    for dataset in ("imagenet2012", "cifar10")
]


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: f"{r.net} {r.dataset}")
def test_the_network_of_a_recipe_can_be_built_and_its_groups_hold_every_parameter(recipe):
    small = {"vgg16": {"hidden": 8}}.get(recipe.net, {})
    network = create_network(recipe.net, recipe.num_classes, 32, **recipe.network_settings, **small)
    names = [p.name for p in network.trainable_params()]
    decayed = {name for name in names if recipe.decays(name)}
    assert decayed == {name for name in names if name.endswith("weight")}
    assert decayed != set(names)


def test_no_decay_by_suffix_and_by_substring_part_where_names_differ():
    suffix, substring = recipe_for("densenet121"), recipe_for("genet")
    assert suffix.decays("biased.weight") and not substring.decays("biased.weight")
    assert not suffix.decays("head.fc.bias") and not substring.decays("end_point.bias")


@pytest.mark.parametrize(
    "net, dataset, levels",
    [
        ("densenet121", "imagenet2012", "O3 O0 O0"),
        ("tinydarknet", "imagenet2012", "O3 O2 O0"),
        ("genet", "imagenet2012", "O3 O0 O0"),
        ("vgg16", "cifar10", "O3 O3 O0"),
        ("vgg16", "imagenet2012", "O2 O2 O0"),
    ],
)
def test_amp_levels(net, dataset, levels):
    recipe = recipe_for(net, dataset)
    # O2 that takes batch normalisation to float16 as well is O3; VGG16 for ImageNet has none.
    assert " ".join(recipe.amp_level(target) for target in ("Ascend", "GPU", "CPU")) == levels
    with pytest.raises(ValueError, match="'TPU'.*Ascend, GPU, CPU"):
        recipe.amp_level("TPU")


def test_smoothing():
    assert [(r.net, r.label_smooth_factor, r.smooth_off) for r in ALL if r.published] == [
        ("densenet121", 0.0, "K-1"),
        ("tinydarknet", 0.1, "K-1"),
        ("genet", 0.1, "K"),
        ("vgg16", 0.1, "K-1"),
        ("vgg16", 0.0, "K-1"),
    ]


def test_evaluation_resizes_in_proportion():
    recipe = recipe_for("densenet121")
    assert recipe.eval_resize_size == 256
    assert dataclasses.replace(recipe, image_size=32).eval_resize_size == 37
    assert recipe_for("vgg16", "cifar10").eval_resize_size == 224


def test_the_reversed_cifar_statistics_are_a_named_option():
    usual, zoo = (
        recipe_for("vgg16", "cifar10"),
        recipe_for("vgg16", "cifar10", normalisation="cifar10_reversed"),
    )
    assert usual.mean == pytest.approx((0.4914 * 255, 0.4822 * 255, 0.4465 * 255))
    assert zoo.mean == usual.mean[::-1] and zoo.std == usual.std[::-1]
    with pytest.raises(ValueError, match="cifar10_reversed"):
        recipe_for("vgg16", "cifar10", normalisation="other")
    assert set(NORMALISATIONS) == {"imagenet", "cifar10", "cifar10_reversed"}


def test_genet_forms_have_their_own_epochs():
    assert [
        recipe_for("genet", extra=e, mlp=m).epochs
        for e, m in ((True, True), (True, False), (False, False), (False, True))
    ] == [150, 150, 220, 220]
    assert recipe_for("genet", extra=False, mlp=True).network_settings == {"extra": False, "mlp": True}


def test_a_recipe_that_is_changed_does_not_change_the_next_one():
    recipe_for("genet").network_settings["extra"] = "changed"
    assert recipe_for("genet").network_settings["extra"] is True
    recipe_for("densenet121").augmentation["jitter"] = "changed"
    assert recipe_for("densenet121").augmentation["jitter"] == (0.4, 0.4, 0.4, 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.0},
        {"lr": float("inf")},
        {"epochs": 0},
        {"batch_size": -1},
        {"momentum": 1.0},
        {"lr_scheduler": "step"},
        {"label_smooth_factor": 1.0},
        {"smooth_off": "K-2"},
        {"std": (1.0, 1.0, 0.0)},
        {"warmup_epochs": 121},
        {"lr_epochs": (60, 30)},
        {"amp_cpu": "O1"},
        {"eval_crop_ratio": 0.0},
        {"lr": float("nan")},
        {"no_decay_rule": "all"},
    ],
)
def test_bad_values_are_refused_in_one_line_that_names_them(changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError) as error:
        dataclasses.replace(recipe_for("densenet121"), **changes)
    message = str(error.value)
    assert f"{name}={value!r} in the recipe of densenet121 for imagenet2012" in message and "\n" not in message


def test_unknown_nets_and_data_sets_are_refused():
    with pytest.raises(ValueError, match="resnet.*densenet121, genet, tinydarknet, vgg16"):
        recipe_for("resnet")
    with pytest.raises(ValueError, match="svhn.*imagenet2012, cifar10"):
        recipe_for("genet", "svhn")


def test_every_setting_has_a_help_text():
    bare = [f.name for f in dataclasses.fields(Recipe) if not f.metadata.get("help")]
    assert bare == ["network_settings", "augmentation"]
