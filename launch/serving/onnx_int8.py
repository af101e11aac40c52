"""An ONNX model in 8 bits, by onnxruntime's static quantisation."""

import contextlib
import logging
import tempfile
from pathlib import Path

import onnx

from cellwright.launch.serving.onnx_graph import OPSET, describe


class _Batches:
    """What onnxruntime asks for calibration data."""

    def __init__(self, batches):
        self._batches = iter(batches)

    def get_next(self):
        batch = next(self._batches, None)
        return None if batch is None else {"tensor": batch}


@contextlib.contextmanager
def _quiet():
    """Inside, the root logger drops onnxruntime's warnings: one for each norm that no convolution has taken in, whose
    weights get one scale, as they should.
    """

    def others(record):
        return "onnxruntime" not in Path(record.pathname).parts or record.levelno > logging.WARNING

    root = logging.getLogger()
    root.addFilter(others)
    try:
        yield
    finally:
        root.removeFilter(others)


def quantised(model, batches):
    """Returns the model with convolutions and matrix products in int8; its input is still `tensor`.

    batches: iterable of float32 (N, 3, S, S), normalised, over which the ranges of all values are taken. Weights have a
    scale for each output channel, values one for each tensor.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet(), tempfile.TemporaryDirectory(prefix="cellwright-int8-") as folder:
        plain, folded, small = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "folded", "small"))
        onnx.save(model, plain)
        quant_pre_process(plain, folded, skip_symbolic_shape=True)  # joins convolutions and normalisations
        quantize_static(
            folded,
            small,
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ForceQuantizeNoInputCheck": False},
        )
        made = onnx.load(small)
    assert next(entry.version for entry in made.opset_import if entry.domain in ("", "ai.onnx")) == OPSET
    describe(made, {entry.key: entry.value for entry in model.metadata_props})
    return made
