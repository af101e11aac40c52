"""Writes a file, or a folder of files, whole or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

# A folder under one of these names is unfinished or being deleted, and is never read.
_UNFINISHED, _DOOMED = ".unfinished-", ".doomed-"


@contextlib.contextmanager
def whole_folder(path):
    """Context manager: yields a temporary folder to fill; on leaving, it is on the disk under `path`, or nothing is.

    Files are flushed before the rename, so that a power cut after it finds them complete. An exception removes the
    temporary folder; a full disk raises OSError that says so. An existing folder of that name is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{path.name}-", dir=path.parent))
    os.chmod(temporary, 0o755)
    try:
        yield temporary
        for file in sorted(temporary.iterdir()):
            _flush(file)
        _flush(temporary)
        if path.exists():
            remove_folder(path)
        os.rename(temporary, path)
        _flush(path.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        free = shutil.disk_usage(path.parent).free
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(
                error.errno,
                f"{path} was not written: {os.strerror(error.errno)}, {free >> 20} MB free; older ones are whole",
            ) from error
        raise


@contextlib.contextmanager
def whole_file(path):
    """Context manager: yields a text file to write; on leaving, it is on the disk under `path`, or nothing is."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def remove_folder(path):
    """Removes a folder; killed half-way, it leaves nothing under the folder's own name."""
    path = Path(path)
    doomed = Path(tempfile.mkdtemp(prefix=_DOOMED, dir=path.parent))
    os.rename(path, doomed / path.name)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(folder):
    """Removes what a killed writer left in a folder. Only for the one process that writes there."""
    for name in os.listdir(folder):
        if name.startswith((_UNFINISHED, _DOOMED)):
            shutil.rmtree(Path(folder, name), ignore_errors=True)


def _flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
