"""One line of the doctor's report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """level: OK, WARN or FAIL; what: what was found; fix: what to do about it."""

    level: str
    what: str
    fix: str = ""

    def __str__(self):
        return f"{self.level:<4}  {self.what}" + (f"\n      fix: {self.fix}" if self.fix else "")
