"""Open MPI's walls of text: told apart from what the ranks write, and put into one line."""

import re

_RULE = re.compile(rb"-{60,}\s*$")
_OWN = re.compile(b"prterun|mpirun|MPI_ABORT|PRTE|PMIx|Open MPI|OpenPMIx")
_SIGNAL = re.compile(r"rank (\d+) with PID \d+ on node (\S+) exited on signal (\d+) \((.*?)\)")
_EXIT = re.compile(r"Process name: \[\S+,(\d+)\] Exit code: (\d+)")
_SLOTS = re.compile(r"not enough slots available in the system to satisfy the (\d+) slots")


class LauncherText:
    """Separates the standard error of mpirun: `feed(bytes)` returns what the ranks wrote, `walls` holds the rest.

    A wall stands between two lines of dashes and names a part of Open MPI. What a rank writes is handed on at once, as
    it is, half lines too.
    """

    def __init__(self):
        self.walls = []
        self.ranks_wrote = False
        self._line = b""
        self._at_start = True
        self._block = None

    def feed(self, data):
        """Returns the bytes among these (and among those kept back before) that are not Open MPI's."""
        out = []
        for piece in data.splitlines(keepends=True):
            self._line += piece
            if self._at_start and self.walls:
                self._line = self._line.lstrip(b"\0")  # a zero byte comes behind the wall of MPI_ABORT
            whole = self._line.endswith(b"\n")
            if not self._at_start or (self._block is None and self._line.strip(b"-\r\n ")):
                out.append(self._pass(self._line))
                self._at_start = whole
            elif whole:
                out.append(self._take(self._line))
            else:
                continue  # perhaps the beginning of a line of dashes: wait for the rest
            self._line = b""
        return b"".join(out)

    def rest(self):
        """Returns what was kept back, at the end of the stream."""
        kept, self._line, self._block = (self._block or b"") + self._line, b"", None
        return self._pass(kept) if kept.strip() else b""

    def _pass(self, data):
        self.ranks_wrote = self.ranks_wrote or bool(data.strip())
        return data

    def _take(self, line):
        """A whole line that may belong to a wall."""
        if self._block is None:
            if _RULE.match(line):
                self._block = line
                return b""
            return self._pass(line)
        self._block += line
        if not _RULE.match(line):
            return b""
        block, self._block = self._block, None
        if _OWN.search(block):
            self.walls.append(block.decode(errors="replace"))
            return b""
        return self._pass(block)

    def reason(self):
        """Returns one line on why the job ended, from the walls; "" where they tell no more than what a rank wrote."""
        text = " ".join(" ".join(wall.strip("-\n ").split()) for wall in self.walls)
        if found := _SIGNAL.search(text):
            rank, node, number, name = found.groups()
            return f"rank {rank} on {node} was ended by signal {number} ({name})"
        if self.ranks_wrote or not text:
            return ""
        if found := _EXIT.search(text):
            return f"rank {found[1]} ended with exit code {found[2]}"
        if found := _SLOTS.search(text):
            return f"the hosts have fewer slots than the {found[1]} ranks that were asked for"
        return text if len(text) <= 200 else f"{text[:200]} ... (--show_mpi shows all of it)"
