"""What the daemon gives back of its memory once start-up is over."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from broker.platform.pages import _clean

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages can be had again")

_RELOCATED = """\
7f0000000000-7f0000002000 r--p 00000000 fe:00 123  /usr/lib/library.so
Rss:                   8 kB
Anonymous:             8 kB
"""
_CODE = """\
7f0000002000-7f0000004000 r-xp 00002000 fe:00 123  /usr/lib/library.so
Rss:                   8 kB
Anonymous:             0 kB
"""
_DATA = """\
7f0000004000-7f0000006000 rw-p 00004000 fe:00 123  /usr/lib/library.so
Rss:                   8 kB
Anonymous:             0 kB
"""
_NO_FILE = """\
7f0000006000-7f0000008000 r-xp 00000000 00:00 0  [vdso]
Rss:                   8 kB
Anonymous:             0 kB
"""
_WORKS_ON = """
import ctypes, decimal, json, ssl
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pathlib import Path
from broker.platform.pages import give_back

def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS:"))

def work():
    ssl.create_default_context()
    key = AESGCM(b"k" * 32)
    return key.decrypt(b"n" * 12, key.encrypt(b"n" * 12, b"fake-token-1", b""), b""), decimal.Decimal(2).sqrt()

first, before = work(), resident()
gone = give_back()
after = resident()
print(json.dumps([first == work() == work(), gone > 0, before - after]))
"""


def test_only_what_is_still_as_in_its_file_is_given_back() -> None:
    """What the loader wrote into a library (relocations) is in no file: without it the next call would crash."""
    found = list(_clean((_RELOCATED + _CODE + _DATA + _NO_FILE).splitlines()))
    assert found == [(0x7F0000002000, 0x7F0000004000)]


def test_a_process_is_smaller_and_works_on() -> None:
    """Megabytes that only the loading of libraries needed go, and every library goes on as before."""
    said = subprocess.run([sys.executable, "-c", _WORKS_ON], capture_output=True, text=True, check=True).stdout
    works, gave, kilobytes = json.loads(said)
    assert works
    assert gave
    assert kilobytes > 3000
