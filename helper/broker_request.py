"""The one request, and what decides where Claude Code would send the token, as far as this process can see it.

The daemon judges that (broker/service/guard.py); values that are secrets themselves stay here. The twin of
request.c and steering.c.
"""

import posix

from broker_settings import EX_NOPERM, Settings, fail

MARGIN_MS = 200
FOLDER_MAX, VALUE_MAX, VARIABLES_MAX = 4096, 4096, 16 * 1024
PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"

STEERING = (b"CLAUDE_CODE_USE_", b"CLAUDE_CODE_SKIP_")
STEERING_NAMES = (b"CLAUDE_CONFIG_DIR", b"CLAUDE_CODE_IGNORE_PERSISTED_TRUST", b"CLAUDECODE")  # the last: tools, hooks
SECRET = (b"_TOKEN", b"_KEY")


def request(settings: Settings) -> bytes:
    """Write the request; the daemon gets a little less time than we have, so that its 504 arrives before we give up."""
    remaining = settings.remaining_ms("no time is left to ask")
    numbers = b"ttl_ms=%d&deadline_ms=%d" % (settings.ttl_ms, remaining - min(remaining // 5, MARGIN_MS))
    credential = b"credential=" + percent_encoded(settings.credential) + b"&" if settings.credential else b""
    path = b"/v1/aws?" if settings.aws else b"/v1/token?"
    lines = [b"GET " + path + credential + numbers + b" HTTP/1.1", b"Host: broker", b"Connection: close"]
    if found := folder():
        lines.append(b"X-Broker-Cwd: " + percent_encoded(found))
    lines.append(b"X-Broker-Env: " + variables())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def folder() -> bytes:
    """Return the working folder; empty where it cannot be told: deleted, out of reach or too deep."""
    try:
        found = posix.getcwdb()
    except OSError:
        return b""
    return found if found.startswith(b"/") and len(found) <= FOLDER_MAX else b""


def variables() -> bytes:
    """Write what steers; the name alone says "set, value unknown": where that is a secret, or there is no room for it.

    A variable that does not even fit by name must not be left out in silence: the one that steers could hide behind
    thousands.
    """
    room = VARIABLES_MAX
    sent = []
    for name, value in posix.environ.items():
        if steers(name):
            entry = shown(name, value, room)
            if len(entry) > room:
                limit = f"more than {VARIABLES_MAX} bytes of ANTHROPIC_*_URL and CLAUDE_CODE_* variables"
                fail(EX_NOPERM, f"{limit}; unset some")
            sent.append(entry)
            room -= len(entry) + 1
    return b"&".join(sent)


def steers(name: bytes) -> bool:
    """Whether the daemon gets to see this variable."""
    if name.startswith(b"ANTHROPIC_"):
        return name.endswith(b"_URL")
    return name.startswith(STEERING) or name in STEERING_NAMES


def shown(name: bytes, value: bytes, room: int) -> bytes:
    """Write a variable with its value, or by its name only."""
    alone = percent_encoded(name)
    if name.endswith(SECRET) or len(value) > VALUE_MAX:
        return alone
    whole = alone + b"=" + percent_encoded(value)
    return whole if len(whole) <= room else alone


def percent_encoded(text: bytes) -> bytes:
    """Encode for a query, a form or a header; a path stays readable."""
    if not text.translate(None, PLAIN):
        return text
    return b"".join(b"%c" % byte if byte in PLAIN else b"%%%02X" % byte for byte in text)
