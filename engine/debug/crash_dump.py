"""NaN capsules: all that is needed to run a broken step again, in one folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor
from safetensors.numpy import load_file, save_file

from cellwright.engine.debug.nonfinite_search import first_suspect
from cellwright.engine.storage.atomic_folder import whole_folder
from cellwright.engine.storage.provenance import source_revision, versions


class Diverged(RuntimeError):
    """Raised when training cannot go on: the loss is not finite, or too many steps in a row overflowed."""


@dataclass(frozen=True)
class Capsule:
    """What was written: the arrays of the batch, the weights, the state, and meta (position, scale, suspect, recipe)."""

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    ids: np.ndarray
    parameters: dict
    state: dict
    meta: dict


def write_capsule(path, step, batches, meta):
    """Writes a capsule and returns the line that names the first suspect.

    batches: the micro-batches of the broken update, tuples (images, labels, weights, ids or None). The weights are those
    before the step if the loss scale drops overflows, else those after it (meta["weights_are"] says which).
    meta: at least broken_loss_scale, the factor that the step used, and lr.
    """
    now = float(step.update.scale.value.asnumpy())
    step.update.scale.value.set_data(Tensor(meta["broken_loss_scale"], ms.float32))
    suspects = [first_suspect(step, *batch[:3]) for batch in batches]
    step.update.scale.value.set_data(Tensor(now, ms.float32))
    suspect = next((line for line in suspects if not line.startswith("nowhere")), suspects[0])
    if suspect.startswith("nowhere"):
        suspect += "; the trouble was on another rank, or in the update"
    images, labels, weights = (np.concatenate([batch[k] for batch in batches]) for k in range(3))
    known = all(batch[3] is not None for batch in batches)
    ids = np.concatenate([batch[3] for batch in batches]) if known else np.full(len(labels), -1, np.int64)
    meta = {
        **meta,
        "suspect": suspect,
        "micro_batches": len(batches),
        "weights_are": "before the step" if step.update.drop else "after the step",
        "loss_scale": now,
        "amp_level": step.amp_level,
        "normalise": step.normalise,
        "seed": step.seed,
        "versions": versions(),
        "revision": source_revision(),
    }
    with whole_folder(path) as folder:
        np.savez(folder / "batch.npz", images=images, labels=labels, weights=weights, ids=ids)
        save_file({p.name: p.asnumpy() for p in step.network.get_parameters()}, folder / "weights.safetensors")
        save_file({p.name: p.asnumpy() for p in step.state_parameters()}, folder / "state.safetensors")
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return suspect


def read_capsule(path):
    """Returns the Capsule in a folder; ValueError if there is none."""
    path = Path(path)
    if not (path / "batch.npz").exists() or not (path / "meta.json").exists():
        raise ValueError(f"{path} is not a capsule: it holds no batch.npz and meta.json")
    meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    with np.load(path / "batch.npz") as batch:
        arrays = [batch[name] for name in ("images", "labels", "weights", "ids")]
    return Capsule(*arrays, load_file(path / "weights.safetensors"), load_file(path / "state.safetensors"), meta)


def replay(capsule, step):
    """Runs a capsule's batch through a TrainOneStep of one rank that is built as the run's was.

    Loads weights and state, and returns (suspect line, StepReport of the step).
    """
    for parameters, values in (
        (step.network.get_parameters(), capsule.parameters),
        (step.state_parameters(), capsule.state),
    ):
        for parameter in parameters:
            value = values.get(parameter.name)
            if value is None or value.shape != tuple(parameter.shape):
                raise ValueError(
                    f"{parameter.name} is not in the capsule with shape {tuple(parameter.shape)}: another network"
                )
            parameter.set_data(Tensor(value, parameter.dtype))
    # Scale and counter have moved on since the broken step.
    step.update.scale.value.set_data(Tensor(capsule.meta["broken_loss_scale"], ms.float32))
    step.counter.steps.set_data(Tensor(capsule.state["steps"] - 1, ms.int32))
    step.state_was_set()
    arrays = (capsule.images, capsule.labels, capsule.weights)
    parts = list(zip(*(np.array_split(array, capsule.meta["micro_batches"]) for array in arrays)))
    suspects = [first_suspect(step, *part) for part in parts]
    for part in parts:
        report = step(*part, lr=capsule.meta["lr"])
    if report is None:
        report = step.apply(capsule.meta["lr"])
    return next((line for line in suspects if not line.startswith("nowhere")), suspects[0]), report
