"""Connects to the daemon, and makes sure that it is the user's own at the other end. The twin of connection.c."""

import _socket
import _stat
import posix
import sys

from broker_settings import EX_NOPERM, EX_UNAVAILABLE, LINUX, STDERR, Settings, fail, show

SO_PEERCRED = (_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12) if LINUX else (0, 1, 76)  # else LOCAL_PEERCRED
LONG = 8 if sys.maxsize > 2**32 else 4


def is_private(path: bytes, *, folder: bool) -> bool:
    """Whether `path` is there; end the run if it is not the user's own.

    Else it could be a trap: whoever listens there would see what is asked, and could answer with a key of his own.
    """
    elsewhere = "set BROKER_SOCKET to a path in a folder of your own"
    try:
        found = posix.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        fail(EX_NOPERM, f"{show(path)}: {error.strerror}; {elsewhere}")
    right_kind = _stat.S_ISDIR(found.st_mode) if folder else _stat.S_ISSOCK(found.st_mode)
    if not right_kind:
        fail(EX_NOPERM, f"{show(path)}: not a {'folder of its own' if folder else 'socket'}; run: rm {show(path)}")
    if found.st_uid != posix.geteuid():
        fail(EX_NOPERM, f"{show(path)}: belongs to uid {found.st_uid}, not to you; {elsewhere}")
    if found.st_mode & 0o077:
        mode = f"open to others (mode {found.st_mode & 0o7777:04o})"
        fail(EX_NOPERM, f"{show(path)}: {mode}; run: chmod {'700' if folder else '600'} {show(path)}")
    return True


def try_connect(settings: Settings) -> "_socket.socket | None":
    """Connect, or return None when nobody listens; the kernel waits out a full accept queue, up to the deadline."""
    if not is_private(settings.folder, folder=True) or not is_private(settings.socket, folder=False):
        return None
    while True:
        connection = open_socket()
        seconds, ms = divmod(settings.remaining_ms("the daemon's queue is full"), 1000)
        limit = seconds.to_bytes(LONG, sys.byteorder) + (ms * 1000).to_bytes(LONG, sys.byteorder)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
        try:
            connection.connect(settings.socket)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except BlockingIOError:
            connection.close()
            continue
        except OSError as error:
            fail(EX_UNAVAILABLE, f"{show(settings.socket)}: {error.strerror}; run: broker restart")
        check_peer(connection, settings.socket)
        return connection


def open_socket() -> _socket.socket:
    """Open a socket above the standard descriptors: with stdout closed the token would be written into it."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if connection.fileno() > STDERR:
        return connection
    higher = above_standard(connection.detach())
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, higher)


def above_standard(descriptor: int) -> int:
    """Move `descriptor` out of the way of stdin, stdout and stderr, which our caller may have closed."""
    if descriptor > STDERR:
        return descriptor
    import fcntl  # noqa: PLC0415  # seldom needed, and not free

    higher = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    posix.close(descriptor)
    return higher


def check_peer(connection: _socket.socket, path: bytes) -> None:
    """Ask the kernel who called listen(): race-free where the checks of the path are not."""
    peer = connection.getsockopt(*SO_PEERCRED)
    uid = int.from_bytes(peer[4:8], sys.byteorder)  # second field of ucred, and of macOS's xucred
    if uid != posix.geteuid():
        fail(EX_NOPERM, f"{show(path)}: uid {uid} listens there, not you; run: rm {show(path)}")
