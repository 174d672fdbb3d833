"""Fuzz target: the lines of the audit trail."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.storage.audit import Facts, Key, verify
from broker.storage.audit.chain import GENESIS, Malformed, parse, seal
from tests.fuzz.damage import damaged
from tests.fuzz.target import Check, Target, one_line

AUDIT_KEY: Final = Key(b"k" * 32, kept=True)


def _trail(events: int) -> bytes:
    lines, mac = [], GENESIS
    for seq in range(1, events + 1):
        facts: Facts = (
            {"event": "opened", "prev": mac, "oldest": 1} if seq == 1 else {"event": "issued", "credential": "work"}
        )
        line, link = seal(AUDIT_KEY, seq, mac, 1_800_000_000.0 + seq, facts)
        lines.append(line)
        mac = link.mac
    return b"".join(lines)


TRAILS: Final = (
    *(_trail(1), _trail(4), _trail(12), b"", b"\n\n", b"{}\n", _trail(4)[:-1], _trail(4)[200:]),
    _trail(2).replace(GENESIS[:6].encode(), b"\\ud800", 1),
    _trail(2).replace(GENESIS[:3].encode(), b"\xed\xa0\x80", 1),
    _trail(1)[:-67] + "\u00e9".encode() * 32 + b'"}\n',
)


@contextmanager
def audited() -> Iterator[Check]:
    """Check trails in a folder."""
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        folder = Path(name)

        def check(content: bytes) -> None:
            (folder / "audit.jsonl").write_bytes(content)
            verdict = verify(folder, AUDIT_KEY)
            for line in (*verdict.findings, *verdict.limits):
                one_line(line)
            if verdict.intact:  # then only the end can be missing, and that is said
                assert _trail(12).startswith(content[: content.rfind(b"\n") + 1])
                assert any("cut from the end" in limit for limit in verdict.limits)
            for raw in content.split(b"\n"):
                read_line(raw)

        yield check


def read_line(raw: bytes) -> None:
    """One line is ours or malformed, nothing else."""
    try:
        line = parse(raw)
    except Malformed:
        return
    assert line.seq > 0
    line.is_proven(AUDIT_KEY, GENESIS)


AUDIT: Final = Target(
    "audit",
    "a changed trail is found out; no line stops the verifier",
    TRAILS,
    damaged(TRAILS),
    audited,
    2000,
    smoke=60,
)
