"""What the caller of broker-helper decides, and how the helper ends: settings, deadline, one line on stderr.

The twin of settings.c and deadline.c. All times are in ms.
"""

import _stat
import posix
import sys
import time
from posix import _exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

VERSION = "unbuilt"  # the build hook writes the real one

EX_OK = 0  # these are sysexits.h's
EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78

STDOUT = 1
STDERR = 2

CREDENTIAL_MAX = 256
MS_MAX = 1_000_000_000_000  # larger numbers count as this, some 30 years
MS_DIGITS = 13
TTL_DEFAULT_MS = 300_000  # Claude Code's own
TIMEOUT_DEFAULT_MS = 9_000  # Claude Code complains at 10 s
LINE_MAX = 1022

LINUX = sys.platform == "linux"
SOCKET_MAX = 108 if LINUX else 104
SUSPEND_AWARE = time.CLOCK_BOOTTIME if LINUX else time.CLOCK_MONOTONIC

USAGE = """usage: broker-helper [NAME]
Print the credential NAME (else $BROKER_CREDENTIAL, else the configured default) for Claude Code's apiKeyHelper.
       broker-helper --aws NAME
Print the keys of an AWS session as AWS's credential_process does.
"""
RIGHT = "usage: broker-helper [NAME], or: broker-helper --aws NAME"


class Settings:
    """Everything the caller decides, read once from arguments and environment."""

    def __init__(self, own_path: str, arguments: "list[str]") -> None:
        self.started_ms = now_ms()
        self.own_folder = encode(own_path).rpartition(b"/")[0]
        self.aws = arguments[:1] == ["--aws"]  # print what AWS's credential_process does instead of a token
        self.credential = credential_argument(arguments[self.aws :], self.aws) or posix.environ.get(
            b"BROKER_CREDENTIAL", b""
        )
        if len(self.credential) > CREDENTIAL_MAX:
            fail(EX_USAGE, f"the credential's name is longer than {CREDENTIAL_MAX} bytes")
        self.ttl_ms = milliseconds(b"CLAUDE_CODE_API_KEY_HELPER_TTL_MS", TTL_DEFAULT_MS, 0)
        self.timeout_ms = milliseconds(b"BROKER_TIMEOUT_MS", TIMEOUT_DEFAULT_MS, 1)
        self.may_start = posix.environ.get(b"BROKER_AUTOSTART") != b"0"
        self.heard = True  # False: the last connection broke off, so perhaps nobody read what was asked
        self.socket = find_socket()
        # Without slashes at its end: lstat would follow a link that ends in one.
        self.folder = self.socket.rpartition(b"/")[0].rstrip(b"/") or b"/"

    def remaining_ms(self, waiting_for: str) -> int:
        """Return what is left of the run's deadline, or end the run with 75."""
        remaining = self.started_ms + self.timeout_ms - now_ms()
        if remaining <= 0:
            fail(EX_TEMPFAIL, f"no token within {self.timeout_ms} ms: {waiting_for}; see: broker status")
        return remaining


def warn(message: str) -> None:
    """Write one line on stderr. `message`: one character a byte, see `show`."""
    from broker_report import printable  # noqa: PLC0415  # the common case does without

    raw = f"broker-helper: {message}".encode("latin-1", "replace")[:LINE_MAX]
    try:
        posix.write(STDERR, printable(raw) + b"\n")
    except OSError:
        return  # nobody left to tell


def fail(exit_code: int, message: str) -> "NoReturn":
    """End the run with one line on stderr."""
    warn(message)
    _exit(exit_code)


def show(raw: bytes) -> str:
    """Decode for a message: one character a byte, whatever it is."""
    return raw.decode("latin-1")


def encode(argument: str) -> bytes:
    """Return the bytes that the system gave us for `argument`."""
    return argument.encode(sys.getfilesystemencoding(), "surrogateescape")


def now_ms() -> int:
    """Read a clock that also counts while the machine sleeps."""
    return time.clock_gettime_ns(SUSPEND_AWARE) // 1_000_000


def milliseconds(name: bytes, fallback: int, least: int) -> int:
    """Read a whole number of ms, or warn and take `fallback`."""
    text = posix.environ.get(name)
    if text is None:
        return fallback
    if text.isdigit():
        value = min(int(text.lstrip(b"0")[:MS_DIGITS] or b"0"), MS_MAX)
        if value >= least:
            return value
    warn(f"{show(name)} is not a whole number of milliseconds of at least {least}; using {fallback}")
    return fallback


def credential_argument(arguments: "list[str]", aws: bool) -> bytes:  # noqa: FBT001  # the twin's
    """Return the only argument, empty if there is none; help and version end the run."""
    if len(arguments) > 1:
        fail(EX_USAGE, f"too many arguments; {RIGHT}")
    if not arguments and aws:
        fail(EX_USAGE, f"--aws takes a credential's name; {RIGHT}")
    if not arguments:
        return b""
    name = encode(arguments[0])
    if name == b"--help" and not aws:
        tell(USAGE)
    if name == b"--version" and not aws:
        tell(f"broker-helper {VERSION} (python)\n")
    if name.startswith(b"-"):
        fail(EX_USAGE, f"unknown option {show(name[:40])}; {RIGHT}")
    if not name:
        fail(EX_USAGE, f"the credential's name is empty; {RIGHT}")
    return name


def tell(text: str) -> "NoReturn":
    """End the run with what was asked for, on stderr: stdout is for tokens."""
    try:
        posix.write(STDERR, text.encode())
    except OSError:
        _exit(EX_IOERR)
    _exit(EX_OK)


def find_socket() -> bytes:
    """Name the control socket, or end the run where the name cannot be a socket's address."""
    path = socket_candidate()
    if not path:
        why = "neither XDG_STATE_HOME nor HOME is set, so there is no place for the broker's files"
        fail(EX_CONFIG, f"{why}; set HOME")
    if not path.startswith(b"/"):  # looked up in the project's folder, where a stranger may have put a socket
        fail(EX_CONFIG, f"socket path {show(path)}: must be absolute; set BROKER_SOCKET to an absolute path")
    if len(path) >= SOCKET_MAX:
        why = f"longer than a socket address can be ({SOCKET_MAX} bytes); set a shorter BROKER_SOCKET"
        fail(EX_CONFIG, f"socket path {show(path[:400])}: {why}")
    return path


def socket_candidate() -> bytes:
    """Look where the daemon listens (broker/paths.py has the same order); an empty variable counts as unset."""
    get = posix.environ.get
    run_user = b"/run/user/%d" % posix.geteuid()
    if path := get(b"BROKER_SOCKET"):
        return path
    if (path := get(b"XDG_RUNTIME_DIR", b"")).startswith(b"/"):  # the XDG specification: relative ones are ignored
        return path + b"/broker/broker.sock"
    if is_own_folder(run_user):
        return run_user + b"/broker/broker.sock"
    if path := get(b"BROKER_STATE_DIR"):
        return path + b"/broker.sock"
    if (path := get(b"XDG_STATE_HOME", b"")).startswith(b"/"):
        return path + b"/broker/broker.sock"
    path = get(b"HOME", b"")
    return path and path + b"/.local/state/broker/broker.sock"


def is_own_folder(path: bytes) -> bool:
    """Whether `path` is a folder of the user's."""
    try:
        found = posix.stat(path)
    except OSError:
        return False
    return _stat.S_ISDIR(found.st_mode) and found.st_uid == posix.geteuid()
