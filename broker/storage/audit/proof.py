"""Proves of an audit trail what its key can prove, names what was done to it, and says what nobody can prove."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import UnsafePath
from broker.storage.audit import files
from broker.storage.audit.chain import Key, Line, Link, Malformed, parse
from broker.storage.audit.trail import OPENED, is_own_opening, number

FINDINGS_MAX: Final = 20
"""Findings that are told; of a trail that was shuffled, more would say no more."""

_AT_A_TIME: Final = 64
"""Lines that take less than a millisecond."""

_OPENED_MARK: Final = b'"event":"opened"'
_WHO_HAS_THE_KEY: Final = (
    "a program that can open the key's home, or that asks as you, could have written or rewritten any line"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at, and what came of it. `findings`: signs of tampering; `limits`: what is not proven."""

    lines: int
    proven: int
    findings: tuple[str, ...]
    limits: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether every line that can be proven is, and none is missing."""
        return not self.findings


def verify(folder: Path, key: Key, *, end: Link | None = None, known: Link | None = None) -> Verdict:
    """Check the whole trail in `folder`.

    `end` is where the chain stands, where the daemon that writes it is asked; `known` is the last line that the
    encrypted store remembers. Raises `OSError` where the folder cannot be read.
    """
    check = _Check(key, end, known)
    paths = files.present(folder)
    contents = [(path.name, check.read(path, last=path == paths[-1])) for path in paths]
    for _name, lines in contents:
        check.hear(lines)
    for name, lines in contents:
        check.walk(name, lines)
    check.judge_ends()
    return Verdict(check.count, check.proven, check.told(), (*check.limits, _WHO_HAS_THE_KEY))


class _Check:
    def __init__(self, key: Key, end: Link | None, known: Link | None) -> None:
        self.count = 0
        self.proven = 0
        self.limits: list[str] = []
        self._findings: list[str] = []
        self._key = key
        self._end = end
        self._known = known
        self._first: Line | None = None
        self._last: Line | None = None
        self._before: Line | None = None
        self._oldest = 1 if known is None else known.oldest
        self._remembered: dict[int, str] = {} if known is None else {known.seq: known.mac}
        self._foreign: list[list[int]] = []

    def told(self) -> tuple[str, ...]:
        """Give the findings, up to `FINDINGS_MAX`."""
        rest = len(self._findings) - FINDINGS_MAX
        return (*self._findings[:FINDINGS_MAX], *([f"and {rest} more"] if rest > 0 else []))

    # --- reading ------------------------------------------------------------------------------------------------

    def read(self, path: Path, *, last: bool) -> list[bytes]:
        """Return the lines of a file of the trail; `last`: the one that is being written."""
        try:
            *lines, torn = files.read(path).split(b"\n")
        except UnsafePath as error:
            self._findings.append(str(error))
            return []
        except OSError as error:
            self._findings.append(f"{path}: cannot be read: {error.strerror}")
            return []
        if torn:
            self._note_torn(path.name, len(torn), last=last)
        return lines

    def _note_torn(self, name: str, size: int, *, last: bool) -> None:
        if last and self._end is None:
            self.limits.append(f"{name}: the last line is torn ({size} bytes): the daemon was killed as it wrote it")
        else:
            self._findings.append(f"{name}: ends with {size} bytes that are no line")

    def hear(self, lines: list[bytes]) -> None:
        """Collect what the proven `opened` lines say of the others."""
        for raw in lines:
            if _OPENED_MARK in raw:
                line = _parsed(raw)
                if line is not None and is_own_opening(line, self._key):
                    self._oldest = max(self._oldest, number(line, "oldest"))
                    if seq := number(line, "known_seq"):
                        self._remembered[seq] = str(line.facts.get("known_mac"))

    # --- line by line -------------------------------------------------------------------------------------------

    def walk(self, name: str, lines: list[bytes]) -> None:
        """Look at every line of one file, in its place."""
        for place, raw in enumerate(lines, start=1):
            if place % _AT_A_TIME == 0:
                time.sleep(0)  # lets the daemon's own thread run: no answer is to wait for all of this
            where = f"{name}, line {place}"
            self.count += 1
            line = _parsed(raw)
            if line is None:
                self._findings.append(f"{where}: no line of an audit trail")
            else:
                self._look(where, line)
            self._before = line

    def _look(self, where: str, line: Line) -> None:
        follows = self._follows(where, line)
        if not self._is_own(line):
            self._note_foreign(line.seq)
        elif follows or _says_opened(line):
            self._prove(where, line)
        elif self._last is None:
            self._findings.append(f"{where}: the trail begins with a line that cannot be its first")
        if self._remembered.get(line.seq, line.mac) != line.mac:
            self._findings.append(f"{where}: not the line that was remembered as number {line.seq}")
        self._first = self._first or line
        self._last = line

    def _prove(self, where: str, line: Line) -> None:
        if not self._is_proven(line, self._before):
            self._findings.append(f"{where}: number {line.seq} was changed since it was written")
            return
        self.proven += 1
        if _says_opened(line):
            self._heed(where, line)
        elif self._before is not None and not self._is_own(self._before):
            # A MAC is easily copied onto a line of a key that nobody has; only an `opened` line may follow such.
            self._findings.append(f"{where}: the line before it was replaced")

    def _follows(self, where: str, line: Line) -> bool:
        """Whether the line before it is there, so that its MAC can be checked; tell where it is not."""
        last = self._last
        if last is None:
            return False
        if line.seq > last.seq + 1:
            self._findings.append(f"{where}: {_numbers(last.seq + 1, line.seq - 1)} missing before it")
        elif line.seq <= last.seq:
            self._findings.append(f"{where}: number {line.seq} stands after number {last.seq}")
        return line.seq == last.seq + 1 and self._before is last

    def _heed(self, where: str, line: Line) -> None:
        """Compare what a proven `opened` line continues with what stands before it."""
        before = self._before
        if before is None:
            return
        if line.facts.get("prev") != before.mac:
            self._findings.append(f"{where}: continues another line than the one before it")
        elif line.facts.get("prev_key") == self._key.id != before.key:
            self._findings.append(f"{where}: the lines before it claim another key than they were written under")

    def _note_foreign(self, seq: int) -> None:
        if self._foreign and self._foreign[-1][1] == seq - 1:
            self._foreign[-1][1] = seq
        else:
            self._foreign.append([seq, seq])

    def _is_own(self, line: Line) -> bool:
        return line.key == self._key.id

    def _is_proven(self, line: Line, before: Line | None) -> bool:
        if _says_opened(line):
            return line.is_proven(self._key, str(line.facts.get("prev")))
        return before is not None and line.is_proven(self._key, before.mac)

    # --- both ends ----------------------------------------------------------------------------------------------

    def judge_ends(self) -> None:
        """Say what was cut at the beginning or the end, and what cannot be said."""
        if self._first is not None and self._first.seq > self._oldest:
            self._findings.append(f"{_numbers(self._oldest, self._first.seq - 1)} missing at the beginning")
        self._judge_end(self._end or self._known)
        for first, last in self._foreign:
            self.limits.append(f"{_numbers(first, last)} written under another key: nothing is proven about that")
        if not self._key.kept:
            self.limits.append(
                "the key is random for each run of the daemon: nothing is proven about other runs,"
                " nor about this one once it ended; a key at rest mends that ([daemon] persist)"
            )

    def _judge_end(self, expected: Link | None) -> None:
        last = self._last.link if self._last is not None else Link()
        if expected is not None and last.seq < expected.seq:
            self._findings.append(f"{_numbers(last.seq + 1, expected.seq)} missing at the end")
        elif last.seq and last.key != self._key.id:
            self._findings.append(f"the last line, number {last.seq}, was written under a key that is not at hand")
        if self._end is not None and last.seq >= self._end.seq and last != self._end:
            self._findings.append(f"the last line is not number {self._end.seq} as the daemon wrote it")
        if self._end is None:
            self.limits.append(
                f"lines after number {expected.seq} could have been cut from the end unnoticed"
                if expected is not None
                else "lines could have been cut from the end unnoticed: the encrypted store remembers none"
            )


def _parsed(raw: bytes) -> Line | None:
    try:
        return parse(raw)
    except Malformed:
        return None


def _says_opened(line: Line) -> bool:
    return line.event == OPENED


def _numbers(first: int, last: int) -> str:
    return f"number {first} is" if first == last else f"numbers {first} to {last} are"
