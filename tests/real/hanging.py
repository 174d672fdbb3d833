"""A file system that never answers: FUSE, mounted by hand, whose server reads no request. Needs root and /dev/fuse."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FUSE: Final = Path("/dev/fuse")
_MNT_DETACH: Final = 2


def can_hang() -> bool:
    """Whether this process may mount one."""
    return os.geteuid() == 0 and os.access(FUSE, os.R_OK | os.W_OK)


@contextmanager
def hanging(folder: Path) -> Iterator[Path]:
    """Mount one at `folder` until the block ends; who waits for it then gets an error. Do not look into it yourself."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open(FUSE, os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"hang", os.fsencode(folder), b"fuse", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), _MNT_DETACH)
        os.close(device)
        folder.rmdir()
