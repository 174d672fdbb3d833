"""Gives back memory that nobody needs after start-up: pages of program files, which the kernel finds again by itself.

Loading a library touches most of its pages once (cryptography's: 7 MB, of which encrypting needs 2). Such a page is
an exact copy of its file; unmapped, it takes microseconds to be mapped again by whoever touches it next.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_MADV_DONTNEED: Final = 4  # madvise(2)
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-(?:x|-)p [0-9a-f]+ \S+ [1-9]\d*\s+/")
_SMAPS: Final = Path("/proc/self/smaps")


def give_back() -> int:
    """Unmap what can be had again from files; return how many bytes of addresses that were, resident or not."""
    try:
        text = _SMAPS.read_text(errors="replace")
    except OSError:
        return 0
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    clean = list(_clean(text.splitlines()))
    return sum(end - start for start, end in clean if advise(start, end - start, _MADV_DONTNEED) == 0)


def _clean(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Find the mappings of files that nobody can write and nobody has written: proc_pid_smaps(5).

    What the loader wrote before it closed a mapping (relocations) is anonymous memory by now, and would be lost.
    """
    found: tuple[int, int] | None = None
    for line in lines:
        if line.startswith("Anonymous:"):
            if found is not None and line.split()[1] == "0":
                yield found
            found = None
        elif (match := _MAPPING.match(line)) is not None:
            found = int(match[1], 16), int(match[2], 16)
