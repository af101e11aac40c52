"""What a recipe says of pictures, as the loader's transforms, which declare and check the numbers."""

import dataclasses

from cellwright.dataloader import EvalTransform, TrainTransform

# Settings of the augmentation -> their defaults: the fields of TrainTransform that say what their flag is for.
AUGMENTATION = {field.name: field.default for field in dataclasses.fields(TrainTransform) if field.metadata}


def train_transform(recipe):
    """Returns the TrainTransform of a Recipe; ValueError for a number that cannot work."""
    return TrainTransform(recipe.image_size, **recipe.augmentation)


def eval_transform(recipe):
    """Returns the EvalTransform of a Recipe; ValueError for a number that cannot work."""
    return EvalTransform(recipe.image_size, recipe.eval_resize, recipe.eval_resize_size)


def with_augmentation(recipe, changes):
    """Returns a Recipe whose augmentation names every setting: its own ones, but for `changes` by name."""
    changed = dataclasses.replace(recipe, augmentation={**recipe.augmentation, **changes})
    transform = train_transform(changed)
    return dataclasses.replace(recipe, augmentation={name: getattr(transform, name) for name in AUGMENTATION})


def flat(recipe):
    """Returns a Recipe as one dict of settings by name, as files and checkpoints keep it: augmentation among them."""
    values = dataclasses.asdict(recipe)
    return values | values.pop("augmentation")
