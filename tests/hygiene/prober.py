"""Run by an ordinary user: starts the daemon and tries everything by which one process looks into another.

Prints what each way gave, on the daemon and on a process that is nothing special, as JSON.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

PTRACE_ATTACH: Final = 16  # ptrace(2)
PTRACE_DETACH: Final = 17
WALL: Final = 0x40000000  # waitpid(2)
PIDFD_GETFD: Final = 438  # its number on every architecture since 5.6
DEADLINE_S: Final = 60.0

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Piece(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def checked(result: int) -> int:
    """Raise what a call of the C library says went wrong."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read(name: str) -> Callable[[int], None]:
    """Read one of the process's files in /proc."""

    def read_(pid: int) -> None:
        with Path(f"/proc/{pid}/{name}").open("rb") as file:
            file.read(1)

    return read_


def mem(pid: int) -> None:
    """Open the memory itself."""
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))


def attach(pid: int) -> None:
    """Attach as a debugger does."""
    checked(libc.ptrace(PTRACE_ATTACH, pid, None, None))
    os.waitpid(pid, WALL)
    checked(libc.ptrace(PTRACE_DETACH, pid, None, None))


def process_vm_readv(pid: int) -> None:
    """Read memory without attaching; the address need not be right for the right to be checked."""
    buffer = ctypes.create_string_buffer(1)
    here, there = Piece(ctypes.addressof(buffer), 1), Piece(ctypes.addressof(buffer), 1)
    try:
        checked(libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))
    except OSError as error:
        if error.errno != errno.EFAULT:  # allowed, but nothing is there
            raise


def descriptors(pid: int) -> None:
    """Take over one of its open files."""
    checked(libc.syscall(PIDFD_GETFD, os.pidfd_open(pid), 0, 0))


WAYS: Final[dict[str, Callable[[int], object]]] = {
    "environ": read("environ"),
    "maps": read("maps"),
    "mem": mem,
    "fd": lambda pid: list(Path(f"/proc/{pid}/fd").iterdir()),
    "cwd": lambda pid: Path(f"/proc/{pid}/cwd").readlink(),
    "ptrace": attach,
    "process_vm_readv": process_vm_readv,
    "pidfd_getfd": descriptors,
}


def tried(pid: int) -> dict[str, str]:
    """Say of each way what came of it."""
    found = {}
    for name, way in WAYS.items():
        try:
            way(pid)
            found[name] = "open"
        except OSError as error:
            found[name] = type(error).__name__
    return found


def token(path: str) -> str:
    """Ask for the token, once the daemon is there."""
    give_up = time.monotonic() + DEADLINE_S
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(path)
            except OSError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
                continue
            connection.sendall(b"GET /v1/token HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(4096), b"")).decode().rpartition("\n")[2]


def main(broker: str) -> None:
    """Start both, try all, end both."""
    with (
        subprocess.Popen([broker, "run"], stderr=subprocess.DEVNULL) as daemon,
        subprocess.Popen(["/bin/sleep", "60"]) as other,
    ):
        try:
            token_ = token(os.environ["BROKER_SOCKET"])
            print(json.dumps({"token": token_, "daemon": tried(daemon.pid), "other": tried(other.pid)}))
        finally:
            daemon.terminate()
            other.kill()


if __name__ == "__main__":
    main(sys.argv[1])
