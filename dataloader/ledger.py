"""A list of batch digests: two runs saw the same bytes if and only if their ledgers agree."""

import glob
import hashlib

HEADER = "epoch,batch,digest\n"


class LedgerMismatch(RuntimeError):
    """A batch differs from the one that the ledger to verify against holds."""


def digest(batch):
    """16 hexadecimal digits over a batch's images, labels, weights, ids and fields (BLAKE2b, 64 bits)."""
    h = hashlib.blake2b(digest_size=8)
    for array in (batch.images, batch.labels, batch.weights, batch.ids, *batch.fields.values()):
        h.update(array)
    return h.hexdigest()


def read_ledger(pattern):
    """{(epoch, global batch): digest} of all files that match the pattern; ValueError with the line where one
    cannot be read.
    """
    entries = {}
    files = sorted(glob.glob(pattern))
    if not files:
        raise ValueError(f"{pattern}: no ledger there")
    for path in files:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line == HEADER:
                    continue
                fields = line.strip().split(",")
                if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
                    raise ValueError(f"{path}:{number}: {line.strip()!r}: expected {HEADER.strip()}")
                entries[int(fields[0]), int(fields[1])] = fields[2]
    return entries


class Ledger:
    """Writes a line a batch to the file `write`, and compares with the files that the pattern `verify` names;
    either may be None.

    Batches are numbered over all ranks (batch * size + rank), so that ledgers of different rank counts can be
    compared; each rank writes a file of its own.
    """

    def __init__(self, write=None, verify=None, rank=0, size=1):
        self.rank, self.size = rank, size
        self._expected = read_ledger(verify) if verify else {}
        self._verify = verify
        self._out = open(write, "a", buffering=1) if write else None
        if self._out and not self._out.tell():
            self._out.write(HEADER)

    def take(self, batch):
        """Notes a batch; LedgerMismatch where it is not the expected one. A batch that the other ledger does
        not hold is no mismatch.
        """
        number, found = batch.index * self.size + self.rank, digest(batch)
        if self._out:
            self._out.write(f"{batch.epoch},{number},{found}\n")
        expected = self._expected.get((batch.epoch, number), found)
        if expected != found:
            raise LedgerMismatch(f"epoch {batch.epoch}, batch {number}: digest {found}, {self._verify} has {expected}")

    def close(self):
        """Closes the file."""
        if self._out:
            self._out.close()
            self._out = None
