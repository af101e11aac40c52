"""Pictures -> logits, by a network of MindSpore's or by an ONNX file."""

import json
from pathlib import Path

import numpy as np

from cellwright.launch.serving.pictures import Cut


class NetworkClassifier:
    """A Trained on MindSpore: `cut(pixels)` prepares a picture, `logits(views)` takes (N, S, S, 3) uint8 of those.

    batch_size: how many views the graph takes; fewer are filled up, so that it is compiled once.
    """

    def __init__(self, trained, batch_size):
        from cellwright.launch.serving.activation_map import Parts

        self.classes, self.name = trained.classes, str(trained.weights)
        self.cut, self.batch_size = Cut(trained.transform), batch_size
        self._parts = Parts(trained.network, trained.normalisation)

    def logits(self, views):
        return self._run(views)[0]

    def maps(self, views, labels):
        """Returns (N, h, w) float32 from 0 to 1: what speaks for the class `labels[i]` in each view."""
        from cellwright.launch.serving.activation_map import activation_maps

        _, maps = self._run(views)
        chosen = np.eye(len(self.classes), dtype=np.float32)[np.asarray(labels)]
        return activation_maps(maps, self._parts.gradient(maps, chosen))

    def _run(self, views):
        from mindspore import Tensor

        filled = np.zeros((self.batch_size, *views.shape[1:]), np.uint8)
        filled[: len(views)] = views
        return [out.asnumpy()[: len(views)] for out in self._parts(Tensor(filled))]


class OnnxClassifier:
    """A file that launch.export wrote: pictures of one size at a time, as they are; preprocessing is in the file."""

    batch_size = 1

    def __init__(self, path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base of their own
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
        about, inputs = self.session.get_modelmeta().custom_metadata_map, self.session.get_inputs()
        if "classes" not in about or inputs[0].name != "images":
            raise ValueError(
                f"{path}: no preprocessing or no class names inside; write it with launch.export, --input images"
            )
        self.classes, self.name = tuple(json.loads(about["classes"])), str(path)

    @staticmethod
    def cut(pixels):
        return pixels

    def logits(self, views):
        return self.session.run(["logits"], {"images": views})[0]


def is_onnx(path):
    return Path(path).suffix.lower() == ".onnx"


def probabilities(logits):
    """Returns the softmax of (N, K) logits, float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
