"""The parent's side of the supervisor: one process for all loaders of this process, started before MPI is.

Open MPI does not survive fork, and a process that is spawned imports the main module again; a fresh
interpreter does neither.
"""

import atexit
import os
import signal
import subprocess
import sys
from pathlib import Path

import cellwright
from cellwright.dataloader.workers.messages import pair, send
from cellwright.dataloader.workers.supervisor import FOR_THE_PARENT

# Of the variables that launchers of Open MPI, PMIx, MPICH and Intel MPI set: who sees them joins a world of theirs.
MPI_PREFIXES = ("OMPI_", "PMIX_", "PRTE_", "PMI_", "MPI_", "MPICH_", "MPIR_", "HYDI_", "HYDRA_", "OPAL_")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# What the process runs: the supervisor, and the kernels that are to be compiled before it forks.
_BOOT = """
import sys
from cellwright.dataloader.precompile import precompile
from cellwright.dataloader.workers.supervisor import main
main(int(sys.argv[1]), precompile)
"""
END_WAIT_S = 5.0


def worker_environment(environment):
    """A copy of `environment` without the variables of MPI, with one thread a process."""
    clean = {name: value for name, value in environment.items() if not name.startswith(MPI_PREFIXES)}
    clean.update(dict.fromkeys(_THREADS, "1"))
    root = str(Path(cellwright.__file__).resolve().parents[1])
    # Last the script's own folder: sources and transforms of one's own are imported from there.
    clean["PYTHONPATH"] = os.pathsep.join(filter(None, [root, clean.get("PYTHONPATH"), sys.path[0]]))
    return clean


class ForkServer:
    """A running supervisor. `open` starts a loader's workers; `close` ends everything."""

    def __init__(self):
        self._sock, child = pair()
        # Ctrl-C, and a cluster manager's warning to all processes of a job, are for the parent alone. Not by a
        # session of its own: the scheduler shares the cores out by session, and the loader of a busy machine
        # would get its share whatever its niceness.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_PARENT)
        try:
            with child:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _BOOT, str(child.fileno())],
                    env=worker_environment(os.environ),
                    pass_fds=[child.fileno()],
                    stdin=subprocess.DEVNULL,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.owner = os.getpid()

    @property
    def pid(self):
        return self._process.pid

    def alive(self):
        return self.owner == os.getpid() and self._process.poll() is None

    def open(self, fds):
        """Sends (control, spec, ring, worker sockets...) to the supervisor."""
        try:
            send(self._sock, ("open",), fds)
        except (BrokenPipeError, ConnectionResetError):
            raise RuntimeError(f"the process that starts the loader's workers (pid {self.pid}) has ended") from None

    def close(self):
        """Ends the supervisor and with it every worker, and waits until they are gone."""
        if self.owner != os.getpid():
            return
        self._sock.close()
        try:
            self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_forkserver = None


def start_forkserver():
    """Starts, once a process, the process from which all workers are forked, and returns it at once. Call it
    before MPI is imported.
    """
    global _forkserver
    if _forkserver is None or not _forkserver.alive():
        _forkserver = ForkServer()
        atexit.register(_forkserver.close)
    return _forkserver
