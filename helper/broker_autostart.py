"""No daemon yet: exactly one of however many helpers runs `broker start`, the others wait for its daemon.

The part of the Python helper that is seldom needed; the twin of autostart.c.
"""

import _socket
import errno
import fcntl
import posix
import sys
import time
from posix import _exit

from broker_connection import above_standard, is_private, try_connect
from broker_settings import EX_CONFIG, EX_UNAVAILABLE, Settings, fail, now_ms, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PAUSE_FIRST_MS, PAUSE_MAX_MS, GRACE_MS, NOTE_LENGTH = 10, 100, 2000, 25

PASSED = (
    *(b"HOME", b"USER", b"LOGNAME", b"LANG", b"LC_ALL", b"TZ", b"XDG_CONFIG_HOME", b"XDG_STATE_HOME"),
    *(b"XDG_RUNTIME_DIR", b"DBUS_SESSION_BUS_ADDRESS", b"SSH_AUTH_SOCK"),
    *(b"BROKER_CONFIG", b"BROKER_SOCKET", b"BROKER_STATE_DIR", b"BROKER_LOG_LEVEL"),
)
"""What `broker start` gets to see. PATH and the rest may have been planted by a project's settings."""


class Pause:
    """Ever longer rests between two looks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ms = PAUSE_FIRST_MS

    def rest(self) -> None:
        """Sleep a little, or end the run at its deadline."""
        remaining = self.settings.remaining_ms("the daemon is still starting")
        time.sleep(min(self.ms, remaining) / 1000)
        self.ms = min(self.ms + self.ms // 4, PAUSE_MAX_MS)


def start_or_wait(settings: Settings) -> _socket.socket:
    """Become the one who starts the daemon, or wait for the one who does; return a connection."""
    make_folder(settings.folder)
    lock = open_lock(settings.folder)
    pause = Pause(settings)
    while (connection := look(settings, lock)) is None:
        pause.rest()
    posix.close(lock)
    return connection


def look(settings: Settings, lock: int) -> "_socket.socket | None":
    """Take one look: start the daemon if nobody does, else see whether it is up."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        heed_note(settings, lock)
        return try_connect(settings)
    return start_under_lock(settings, lock)


def make_folder(folder: bytes) -> None:
    """Make the socket's folder and those above it, each 0700."""
    parts = folder.split(b"/")
    for count in range(2, len(parts) + 1):
        try:
            posix.mkdir(b"/".join(parts[:count]), 0o700)
        except OSError as error:
            reason = error
    try:
        posix.lstat(folder)
    except OSError:
        why = f"{show(folder)} cannot be made: {reason.strerror}"
        fail(EX_UNAVAILABLE, f"no daemon listens, and {why}; set BROKER_SOCKET")
    is_private(folder, folder=True)


def open_lock(folder: bytes) -> int:
    """Open the file whose lock says who may start the daemon."""
    path = folder + b"/start.lock"
    try:
        lock = posix.open(path, posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o600)
    except OSError as error:
        fail_to_lock(folder, path, error)
    return above_standard(lock)


def fail_to_lock(folder: bytes, path: bytes, error: OSError) -> "NoReturn":
    """End the run; something wrong in the lock's place can be removed, a read-only or full file system has to be mended."""
    try:
        posix.lstat(path)
        removable = error.errno != errno.EROFS
    except OSError:
        removable = False
    if removable:
        fail(EX_UNAVAILABLE, f"{show(path)}: {error.strerror}; run: rm {show(path)}")
    why = f"in {show(folder)} nothing can be written: {error.strerror}"
    fail(EX_UNAVAILABLE, f"no daemon listens, and {why}; set BROKER_SOCKET")


def start_under_lock(settings: Settings, lock: int) -> _socket.socket:
    """Run `broker start` and return a connection to its daemon, or note the failure and end the run."""
    connection = try_connect(settings)  # whoever held the lock before may have brought it up
    if connection is not None:
        return connection
    heed_note(settings, lock)
    child = run_broker_start(settings.own_folder)
    pause = Pause(settings)
    exit_code, give_up_ms = None, sys.maxsize
    while True:
        if exit_code is None and (exit_code := ended(child)) is not None:
            give_up_ms = now_ms() + GRACE_MS if exit_code == 0 else 0
        connection = try_connect(settings)
        if connection is not None:
            return connection
        if exit_code is not None and now_ms() >= give_up_ms:
            write_note(lock, exit_code)
            fail_to_start(settings, exit_code)
        pause.rest()


def run_broker_start(folder: bytes) -> int:
    """Fork `broker start`, the one beside our own executable; return its pid."""
    import signal  # noqa: PLC0415  # those who only wait do without

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some callers leave it, its exit code would be lost
    try:
        child = posix.fork()
    except OSError as error:
        fail(EX_UNAVAILABLE, f"no daemon listens, and it cannot be started: {error.strerror}")
    if child == 0:
        try:
            become_broker_start(folder)
        finally:
            _exit(127)
    return child


def become_broker_start(folder: bytes) -> None:
    """Leave behind everything of the caller's: environment, folder, terminal, descriptors, session."""
    import signal  # noqa: PLC0415  # those who only wait do without

    environment = {name: posix.environ[name] for name in PASSED if name in posix.environ}
    environment[b"PATH"] = folder + b":/usr/local/bin:/usr/bin:/bin"
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by the interpreter
        signal.signal(ignored, signal.SIG_DFL)
    posix.setsid()
    posix.chdir(b"/")
    nothing = posix.open(b"/dev/null", posix.O_RDWR)
    for descriptor in range(3):
        posix.dup2(nothing, descriptor)
    posix.closerange(3, descriptor_limit())
    posix.execve(folder + b"/broker", [folder + b"/broker", b"start"], environment)


def descriptor_limit() -> int:
    """Return a number above every open descriptor."""
    return min(posix.sysconf("SC_OPEN_MAX"), 1 << 20)


def ended(child: int) -> "int | None":
    """Return how `child` ended as a shell would say it, or None while it runs."""
    pid, status = posix.waitpid(child, posix.WNOHANG)
    if pid == 0:
        return None
    code = posix.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def write_note(lock: int, exit_code: int) -> None:
    """Tell the helpers that waited for the same start how it ended, so that they do not try in turn."""
    try:
        posix.pwrite(lock, b"%020d %03d\n" % (now_ms(), exit_code), 0)
    except OSError:
        return  # without a note the others try for themselves


def heed_note(settings: Settings, lock: int) -> None:
    """End the run if a start failed since we began; an older failure, or one of an earlier boot, is not ours."""
    note = posix.pread(lock, NOTE_LENGTH, 0)
    failed_ms, _, exit_code = note.rstrip(b"\n").partition(b" ")
    if len(note) < NOTE_LENGTH or not failed_ms.isdigit() or not exit_code.isdigit():
        return
    if settings.started_ms <= int(failed_ms) <= now_ms():
        fail_to_start(settings, int(exit_code))


def fail_to_start(settings: Settings, exit_code: int) -> "NoReturn":
    """End the run: the daemon could not be started."""
    command = show(settings.own_folder) + "/broker start"
    if exit_code == 0:
        where = show(settings.socket)
        fail(EX_UNAVAILABLE, f"{command} went well, but no daemon listens on {where}; see: broker status")
    hint = "broker config check" if exit_code == EX_CONFIG else "broker start"
    fail(EX_UNAVAILABLE, f"no daemon listens, and {command} failed (exit {exit_code}); run: {hint}")
