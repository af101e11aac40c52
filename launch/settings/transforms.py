"""What a recipe says of pictures, as the loader's transforms: they check the numbers, and nobody else does."""

from cellwright.dataloader import EvalTransform, TrainTransform


def train_transform(recipe):
    """Returns the TrainTransform of a Recipe; ValueError for a number that cannot work."""
    return TrainTransform(
        image_size=recipe.image_size,
        crop=recipe.crop,
        crop_scale=recipe.crop_scale,
        crop_ratio=recipe.crop_ratio,
        pad=recipe.crop_padding,
        flip=recipe.flip,
        jitter=recipe.jitter,
        cutout=recipe.cutout,
    )


def eval_transform(recipe):
    """Returns the EvalTransform of a Recipe; ValueError for a number that cannot work."""
    return EvalTransform(recipe.image_size, recipe.eval_resize, recipe.eval_resize_size)
