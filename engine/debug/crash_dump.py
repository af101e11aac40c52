"""Crash dumps: all that is needed to run a broken step again, in one folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mindspore import Tensor
from safetensors.numpy import load_file, save_file

from cellwright.engine.debug.nonfinite_search import NOWHERE, first_nonfinite
from cellwright.engine.step.nested_batch import leaves, map_leaves, rebuild
from cellwright.engine.step.parameter_value import set_value
from cellwright.engine.step.shard_state import own_rows, whole_state
from cellwright.engine.storage.atomic_folder import whole_folder
from cellwright.engine.storage.provenance import source_revision, versions

_FORMAT = 2


@dataclass(frozen=True)
class CrashDump:
    """What was written of a broken step.

    batches: its micro-batches, each a tuple as the step's forward takes it, of numpy arrays. ids: their samples, (N,)
    int64, -1 where unknown. parameters, state: numpy arrays by name. meta: position, loss scale, first_nonfinite,
    settings of the step, recipe.
    """

    batches: tuple
    ids: np.ndarray
    parameters: dict
    state: dict
    meta: dict


def write_crash_dump(path, step, batches: list, meta: dict) -> str:
    """Writes a crash dump and returns the line that names what was not finite first.

    batches: the micro-batches of the broken update, pairs (batch, ids or None). The weights are those before the step
    if the loss scale drops overflows, else those after it (meta["weights_are"] says which). meta: at least
    broken_loss_scale, the factor that the step used, and lr.
    """
    # A crash dump has the form in which the step took its batches, with the weights that it added.
    completed = [step.completed(batch) for batch, _ in batches]
    now = float(step.update.scale.value.asnumpy())
    set_value(step.update.scale.value, meta["broken_loss_scale"])
    found = _first(first_nonfinite(step, batch) for batch in completed)
    set_value(step.update.scale.value, now)
    if found == NOWHERE:
        found += "; the trouble was on another rank, or in the update"
    meta = {
        **meta,
        "format": _FORMAT,
        "first_nonfinite": found,
        "micro_batches": len(batches),
        "weights_are": "before the step" if step.update.drop else "after the step",
        "loss_scale": now,
        "step_settings": step.settings,
        "amp_level": step.amp_level,
        "normalise": step.normalise,
        "seed": step.seed,
        "nesting": map_leaves(lambda _: 0, completed[0]),
        "versions": versions(),
        "revision": source_revision(),
    }
    with whole_folder(path) as folder:
        np.savez(folder / "batch.npz", **_arrays(completed), ids=_ids(completed, [ids for _, ids in batches]))
        save_file({p.name: p.asnumpy() for p in step.network.get_parameters()}, folder / "weights.safetensors")
        # Of moments that ranks share what this one has, zeros elsewhere: the others may be in no trouble.
        save_file(whole_state(step, own_rows(step.optimizer)), folder / "state.safetensors")
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return found


def read_crash_dump(path) -> CrashDump:
    """Returns the CrashDump in a folder, one of an older release too; ValueError if there is none."""
    path = Path(path)
    if not (path / "batch.npz").exists() or not (path / "meta.json").exists():
        raise ValueError(f"{path} is not a crash dump: it holds no batch.npz and meta.json")
    meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    with np.load(path / "batch.npz") as file:
        arrays = {name: file[name] for name in file.files}
    ids = arrays.pop("ids")
    if meta.get("format", 1) == 1:  # of 0.2: one row of images, labels and weights
        meta["first_nonfinite"] = meta.pop("suspect")
        parts = [np.array_split(arrays[name], meta["micro_batches"]) for name in ("images", "labels", "weights")]
        batches = tuple(zip(*parts))
    else:
        batches = tuple(
            rebuild(_tuples(meta["nesting"]), {path: arrays[f"{number}/{path}"] for path, _ in leaves(meta["nesting"])})
            for number in range(meta["micro_batches"])
        )
    return CrashDump(batches, ids, load_file(path / "weights.safetensors"), load_file(path / "state.safetensors"), meta)


def replay(dump: CrashDump, step) -> tuple:
    """Runs a crash dump's batches through a TrainOneStep of one rank that is built as the run's was.

    Loads weights and state, and returns (the line that names what is not finite first, StepReport of the step). Raises
    ValueError where the step is of another network.
    """
    for parameters, values in (
        (step.network.get_parameters(), dump.parameters),
        (step.state_parameters(), dump.state),
    ):
        for parameter in parameters:
            value = values.get(parameter.name)
            if value is None or value.shape != tuple(parameter.shape):
                raise ValueError(
                    f"{parameter.name} is not in the crash dump with shape {tuple(parameter.shape)}: another network"
                )
            set_value(parameter, value)
    # Scale and counter have moved on since the broken step.
    set_value(step.update.scale.value, dump.meta["broken_loss_scale"])
    set_value(step.begin.steps, dump.state["steps"] - 1)
    step.state_was_set()
    found = _first(first_nonfinite(step, batch) for batch in dump.batches)
    lr = None if step.optimizer.has_schedule else dump.meta["lr"]
    for batch in dump.batches:
        report = step(*batch, lr=lr)
    return found, report if report is not None else step.apply(lr)


def _first(lines):
    """The first line that names something, else the last one; looks no further."""
    for line in lines:
        if line != NOWHERE:
            break
    return line


def _arrays(batches):
    return {
        f"{number}/{path}": leaf.asnumpy() if isinstance(leaf, Tensor) else np.asarray(leaf)
        for number, batch in enumerate(batches)
        for path, leaf in leaves(batch)
    }


def _ids(batches, ids):
    if all(part is not None for part in ids):
        return np.concatenate(ids)
    lengths = [next((len(leaf) for _, leaf in leaves(batch) if np.ndim(leaf)), 1) for batch in batches]
    return np.full(sum(lengths), -1, np.int64)


def _tuples(nesting):
    return map_leaves(lambda leaf: leaf, nesting)  # JSON knows lists alone
