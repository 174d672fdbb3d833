"""Tries what broker.service forbids, and prints what came of each attempt as JSON, in hex: a token's characters.

Run by itself, with the path of a program that is setuid root: `python -I confinement.py SETUID_ID`.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

STEERING: Final = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONHOME", "PYTHONPATH")

_NEW_USER_NAMESPACE: Final = 0x10000000
_NO_RANDOM_ADDRESSES: Final = 0x0040000
_I386_GETPID: Final = bytes.fromhex("b814000000cd80c3")  # mov eax, 20; int 0x80; ret
_OK: Final = "ok"
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def main(setuid_id: str) -> str:
    """Try everything, each in a process of its own: some attempts end it."""
    attempts: dict[str, Callable[[], str]] = {
        "umask": _mode_of_a_new_file,
        "core": _raise_the_core_limit,
        "setuid program": lambda: _user_of(setuid_id),
        "personality": lambda: _call("personality", _NO_RANDOM_ADDRESSES),
        "scheduler": _schedule,
        "setuid file": _make_a_setuid_file,
        "namespace": lambda: _call("unshare", _NEW_USER_NAMESPACE),
        "packet socket": lambda: _socket(socket.AF_PACKET),
        "netlink socket": lambda: _socket(socket.AF_NETLINK),
        "32-bit call": _call_32_bit,
        "ptrace": lambda: _call("ptrace", 0, 0, 0, 0),
        "environment": lambda: " ".join(name for name in STEERING if name in os.environ),
    }
    return json.dumps({name: _apart(attempt) for name, attempt in attempts.items()}).encode().hex()


def _apart(attempt: Callable[[], str]) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = attempt()
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:  # noqa: PTH123  # a descriptor
        said = file.read()
    _, status = os.waitpid(child, 0)
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else said


def _call(name: str, *arguments: int) -> str:
    return errno.errorcode[ctypes.get_errno()] if getattr(_LIBC, name)(*arguments) < 0 else _OK


def _mode_of_a_new_file() -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "new"
        file.touch(0o666)
        return f"{file.stat().st_mode & 0o777:04o}"


def _user_of(setuid_id: str) -> str:
    return subprocess.run([setuid_id, "-u"], capture_output=True, text=True, check=True).stdout.strip()


def _raise_the_core_limit() -> str:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    except ValueError:
        return "EPERM"
    return _OK


def _schedule() -> str:
    os.sched_setscheduler(0, os.SCHED_IDLE | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    return _OK


def _make_a_setuid_file() -> str:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0o4700)
    return _OK


def _socket(family: int) -> str:
    socket.socket(family, socket.SOCK_RAW).close()
    return _OK


def _call_32_bit() -> str:
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(_I386_GETPID)
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    return _OK if call() == os.getpid() else "EPERM"


if __name__ == "__main__":
    print(main(sys.argv[1]))
