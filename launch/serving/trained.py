"""A trained network with all that its use needs: recipe, preprocessing, class names."""

from dataclasses import dataclass

from cellwright.launch.settings.resolve import read_eval_settings
from cellwright.launch.settings.transforms import eval_transform


@dataclass(frozen=True)
class Trained:
    """What was trained. weights: where it lies, a Weights; recipe: a Recipe; run: the RunSettings; classes:
    names by label; network: the network with its weights, for evaluation; data: the record of its images, or None.
    """

    weights: object
    recipe: object
    run: object
    classes: tuple
    network: object
    data: dict | None = None

    @property
    def transform(self):
        return eval_transform(self.recipe)

    @property
    def normalisation(self):
        return self.recipe.mean, self.recipe.std


def load_trained(path, flags=(), program=""):
    """Returns the Trained that `path` names: a run, a checkpoint folder or a file of weights.

    flags: as typed, those of launch.eval, for what a bare file does not tell. To be called when MindSpore has been set
    up. ValueError where something does not fit.
    """
    from cellwright.nets import create_network

    resolved, weights, _ = read_eval_settings(["--ckpt", str(path), *flags], program)
    recipe = resolved.recipe
    classes = tuple((weights.data or {}).get("classes") or ())
    network = create_network(recipe.net, recipe.num_classes, recipe.image_size, **recipe.network_settings)
    weights.load(network, whole=True)
    network.set_train(False)
    if len(classes) != recipe.num_classes:
        classes = tuple(str(label) for label in range(recipe.num_classes))
    return Trained(weights, recipe, resolved.run, classes, network, weights.data)
