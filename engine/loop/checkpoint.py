"""Checkpoints: one folder each, written whole or not at all, from which a run goes on to the bit."""

import json
import logging
import re
import zlib
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor
from safetensors.numpy import load_file, save_file

from cellwright.engine.loop.carried import NAME, carried_rows, load_carried
from cellwright.engine.loop.position import Position
from cellwright.engine.step.parameter_value import set_value
from cellwright.engine.step.shard_state import own_state, whole_rows, whole_state
from cellwright.engine.step.statistics import Statistics
from cellwright.engine.storage.atomic_folder import remove_folder, remove_leftovers, whole_folder
from cellwright.engine.storage.machine import changes, machine
from cellwright.engine.storage.provenance import source_revision, versions

_FORMAT = 1
_log = logging.getLogger("cellwright")
_NAME = re.compile(r"(?:.+-)?e(\d+)_b(\d+)$")


class Checkpoints:
    """The checkpoints of a run, in one folder.

    Each holds weights.ckpt (the network's parameters under their own names, for `mindspore.load_checkpoint`),
    state.safetensors (optimizer, scale, EMA, each rank's statistics, what each host carries to the next step) and
    meta.json (position, recipe, versions, git revision, evaluation). Rank 0 writes; saving and restoring are
    collective. The newest `keep` stay, and the best by `metric`. recipe: a JSON-able dict that a resume must match;
    recipe_defaults: what stands for a key that an older checkpoint does not hold. global_batch: samples in one batch of
    all ranks together; with it a resume in mid-epoch may change the number of ranks. data: a JSON-able record of what
    is trained on, kept in each meta.json.
    """

    def __init__(
        self,
        folder,
        *,
        recipe: dict | None = None,
        recipe_defaults: dict | None = None,
        prefix: str | None = None,
        keep: int = 5,
        world=None,
        global_batch: int | None = None,
        data=None,
    ):
        if keep < 1:
            raise ValueError(f"keep = {keep}: at least one checkpoint must stay")
        self.folder = Path(folder)
        self.recipe, self.recipe_defaults = (json.loads(json.dumps(d or {})) for d in (recipe, recipe_defaults))
        self.prefix, self.keep, self.world, self.global_batch, self.data = prefix, keep, world, global_batch, data
        self.rank: int = world.rank if world is not None else 0
        self.size: int = world.size if world is not None else 1
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)

    def save(
        self,
        step,
        position: Position,
        *,
        metric: float | None = None,
        evaluation: dict | None = None,
        average_statistics: bool = True,
    ) -> Path:
        """Writes the state of a TrainOneStep and returns the folder's path. metric: higher is better, for `best`."""
        statistics = Statistics(step.statistics, self.world, average_statistics)
        rows, carried = statistics.rows(), carried_rows(step.update.reduce.allreduce, self.world)
        shards = whole_rows(step.optimizer, self.world)
        name = f"e{position.epoch:04d}_b{position.batch:06d}"
        path = self.folder / (f"{self.prefix}-{name}" if self.prefix else name)
        failure = None
        if self.rank == 0:
            try:
                state = whole_state(step, shards) | {"statistics_per_rank": rows}
                state |= {NAME: carried} if carried is not None else {}
                self._write(step, position, state, statistics.mean(rows), path, metric, evaluation)
            except Exception as error:
                failure = error
        # All ranks learn how it went: none waits for a rank that has raised.
        failed = np.array([failure is not None], np.int64)
        if self.world is not None and self.world.allreduce(failed)[0] and failure is None:
            raise RuntimeError(f"rank 0 could not write {path}")
        if failure is not None:
            raise failure
        return path

    def _write(self, step, position, state, mean, path, metric, evaluation):
        mean = dict(_cut(mean, step.statistics))
        weights = [
            {"name": p.name, "data": Tensor(mean.get(p.name, p.asnumpy()))} for p in step.network.get_parameters()
        ]
        self._forget()  # what a kill between writing and forgetting has left
        with whole_folder(path) as folder:
            ms.save_checkpoint(weights, str(folder / "weights.ckpt"))
            save_file(state, folder / "state.safetensors")
            for file in folder.iterdir():
                file.chmod(0o644)  # the writers of both formats make files that only their owner can read
            files = {file.name: {"bytes": file.stat().st_size, "crc32": _crc32(file)} for file in folder.iterdir()}
            meta = {
                "format": _FORMAT,
                "epoch": position.epoch,
                "batch": position.batch,
                "ranks": self.size,
                "global_batch": self.global_batch,
                "metric": metric,
                "evaluation": evaluation,
                "recipe": self.recipe,
                "data": self.data,
                "versions": versions(),
                "machine": machine(),
                "revision": source_revision(),
                "files": files,
            }
            (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        self._forget()

    def _forget(self):
        paths = self.paths()
        best = self.best()
        for path in paths[: -self.keep]:
            if path != best:
                remove_folder(path)

    def paths(self) -> list[Path]:
        """Returns the folders of all whole checkpoints, oldest position first: by epoch, and by samples within one."""
        found = []
        for entry in self.folder.iterdir() if self.folder.exists() else ():
            match = _NAME.match(entry.name)
            samples = _samples(entry, int(match[2])) if match else None
            if samples is not None:
                found.append((int(match[1]), samples, entry))
        return [entry for _, _, entry in sorted(found)]

    def latest(self) -> Path | None:
        """Returns the newest checkpoint's folder, or None."""
        paths = self.paths()
        return paths[-1] if paths else None

    def latest_whole(self) -> Path | None:
        """Returns the newest checkpoint's folder whose files are all undamaged, or None. Reads them. Collective."""
        path = None
        if self.rank == 0:
            path = next((path for path in reversed(self.paths()) if damaged_file(path) is None), None)
        return self._agreed(path)

    def best(self) -> Path | None:
        """Returns the folder of the checkpoint with the highest metric (the later one of equals), or None."""
        scored = [(read_meta(path)["metric"], place, path) for place, path in enumerate(self.paths())]
        scored = [entry for entry in scored if entry[0] is not None]
        return max(scored)[2] if scored else None

    def restore(self, step, path=None, *, ignore: tuple = ()) -> Position | None:
        """Loads a checkpoint (default: the newest) into a TrainOneStep; returns its Position, or None if there is none.

        With another global batch the position in mid-epoch is that of the same samples, rounded down to a whole update:
        no sample is left out, and those of less than one update come twice. ValueError if the checkpoint was made with
        another recipe (but for the keys in `ignore`), with other parameters, or in mid-epoch with another number of
        ranks where one of the two global batches is unknown; OSError if a file is damaged.
        """
        path = Path(path) if path is not None else self._agreed(self.latest() if self.rank == 0 else None)
        if path is None:
            return None
        meta = read_meta(path)
        self._check(meta, path, ignore)
        damaged = damaged_file(path)
        if damaged:
            raise OSError(f"{damaged} is damaged: size or checksum differs from meta.json")
        weights = {name: value.asnumpy() for name, value in ms.load_checkpoint(str(path / "weights.ckpt")).items()}
        state = load_file(path / "state.safetensors")
        rows, carried = state.pop("statistics_per_rank"), state.pop(NAME, None)
        changed = changes(meta.get("machine", {}), machine())
        if changed and self.rank == 0:
            _log.warning(
                "%s was written with other threads or instructions (%s): the run goes on, not to the bit", path, changed
            )
        _load(step.network.get_parameters(), weights, path)
        _load(step.state_parameters(), _own_state(step, state, path), path)
        statistics = Statistics(step.statistics)
        if rows.shape[1] == statistics.flat().size:  # else of 0.2, which took all frozen parameters for statistics
            statistics.load(rows[self.rank] if len(rows) == self.size else statistics.mean(rows))
        load_carried(step.update.reduce.allreduce, carried, self.world)
        step.state_was_set()
        return self.position(step, meta)

    def position(self, step, meta: dict) -> Position:
        """Returns the Position at which a step goes on from a checkpoint's meta.json, a dict; see `restore`."""
        before, now, batch = meta.get("global_batch"), self.global_batch, meta["batch"]
        if before and now and before != now:
            batch = batch * before // (now * step.accumulate) * step.accumulate
        return Position(meta["epoch"], batch)

    def _agreed(self, path):
        """Rank 0's checkpoint folder, or None, on every rank."""
        if self.world is None:
            return path
        name = np.frombuffer((path.name if path else "").encode().ljust(256), np.uint8)
        name = self.world.broadcast(name, 0).tobytes().decode().strip()
        return self.folder / name if name else None

    def _check(self, meta, path, ignore):
        known = self.global_batch and meta.get("global_batch")
        if meta["ranks"] != self.size and meta["batch"] != 0 and not known:
            raise ValueError(
                f"ranks = {self.size}: {path} was written in mid-epoch by {meta['ranks']} ranks; resume with as many, "
                "or from a checkpoint at the end of an epoch"
            )
        for key in sorted(set(meta["recipe"]) | set(self.recipe)):
            ours, theirs = self.recipe.get(key), meta["recipe"].get(key, self.recipe_defaults.get(key))
            if ours != theirs and key not in ignore:
                raise ValueError(
                    f"{key} = {ours!r}: {path} was trained with {theirs!r}; start a new run folder instead"
                )


def _samples(folder, batches):
    """How many samples of its epoch a checkpoint after so many batches has behind it; None where its meta.json is
    missing or damaged.
    """
    try:
        return batches * (json.loads((folder / "meta.json").read_text(encoding="utf-8")).get("global_batch") or 1)
    except (OSError, ValueError, AttributeError):
        return None


def read_meta(path):
    """Returns the meta.json of a checkpoint folder as a dict."""
    with open(Path(path, "meta.json"), encoding="utf-8") as file:
        meta = json.load(file)
    if meta.get("format") != _FORMAT:
        raise ValueError(f"format = {meta.get('format')!r}: {path} is not a checkpoint of format {_FORMAT}")
    return meta


def damaged_file(path):
    """Returns the first file of a checkpoint folder that is not as it was written, or None."""
    for name, entry in read_meta(path)["files"].items():
        file = Path(path, name)
        try:
            whole = file.stat().st_size == entry["bytes"] and _crc32(file) == entry["crc32"]
        except OSError:
            whole = False
        if not whole:
            return file
    return None


def _cut(flat, parameters):
    start = 0
    for parameter in parameters:
        yield parameter.name, flat[start : start + parameter.size].reshape(parameter.shape)
        start += parameter.size


def _own_state(step, state, path):
    try:
        return own_state(step, state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _load(parameters, values, path):
    for parameter in parameters:
        value = values.get(parameter.name)
        if value is None:
            raise ValueError(f"{parameter.name} is missing in {path}: it was made with other settings")
        if value.shape != tuple(parameter.shape):
            raise ValueError(f"{parameter.name} has shape {tuple(parameter.shape)}, but {value.shape} in {path}")
        set_value(parameter, value)


def _crc32(path):
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value
