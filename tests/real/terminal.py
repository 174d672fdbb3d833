"""Claude Code as a person sees it: interactive, on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from tests.real.claude import Claude
from tests.real.process import terminate, wait_until

_ROWS_COLUMNS: Final = (40, 120)
_CONTROL_SEQUENCE: Final = re.compile(
    r"\x1b(?:\[[0-9;?>]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78])"
)


@dataclass(slots=True)
class Terminal:
    """The person's side: what was shown so far, and a keyboard."""

    _descriptor: int
    _shown: bytearray = field(default_factory=bytearray)

    @property
    def shown(self) -> str:
        """All text that was ever shown, without colours and cursor movements, and without blanks between words."""
        return "".join(_CONTROL_SEQUENCE.sub("", self._shown.decode(errors="replace")).split())

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Wait until `text` (without blanks) was shown so many times."""
        wait_until(lambda: self.shown.count(text) >= times, f"{text!r} is shown")

    def type(self, text: str) -> None:
        """Type `text`, and then the return key as a key of its own (together they would count as pasted)."""
        os.write(self._descriptor, text.encode())
        self.wait_for("".join(text.split()))
        os.write(self._descriptor, b"\r")

    def read(self) -> None:
        """Take in what is shown until the terminal is closed."""
        with suppress(OSError):  # Linux reports the end of a pseudo-terminal as an error
            while piece := os.read(self._descriptor, 65_536):
                self._shown += piece


@contextmanager
def interactive(claude: Claude) -> Iterator[Terminal]:
    """Start Claude Code without `-p` on a new pseudo-terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *_ROWS_COLUMNS, 0, 0))
    process = subprocess.Popen(
        [*claude.enter, str(claude.binary)],
        env=dict(claude.env) | {"TERM": "xterm"},
        cwd=claude.project,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        text=True,
    )
    os.close(theirs)
    terminal = Terminal(ours)
    reader = threading.Thread(target=terminal.read, daemon=True)
    reader.start()
    try:
        yield terminal
    finally:
        terminate(process)
        reader.join()
        os.close(ours)
