"""Claude Code as a person sees it: interactive, on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from tests.real.claude import Claude
from tests.real.process import terminate, wait_until

_ROWS_COLUMNS: Final = (40, 120)


@dataclass(slots=True)
class Terminal:
    """The person's side of the terminal."""

    _descriptor: int

    def type(self, text: str, *, until: Callable[[], bool], what: str) -> None:
        """Type `text` and press return until it has the effect `until`.

        A return key that comes together with text counts as a pasted line's end, so that one is not enough.
        """

        def has_effect() -> bool:
            if not until():
                os.write(self._descriptor, b"\r")
            return until()

        os.write(self._descriptor, text.encode())
        wait_until(has_effect, what, poll_s=0.3)

    def read(self) -> None:
        """Take what is shown, so that Claude Code can go on drawing, until the terminal is closed."""
        with suppress(OSError):  # Linux reports the end of a pseudo-terminal as an error
            while os.read(self._descriptor, 65_536):
                pass


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
