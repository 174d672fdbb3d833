"""broker-helper in Python: asks the broker's daemon for a token and prints it, and nothing else, on stdout.

The twin of broker_helper.c with the same contract and the same words, for where no compiler works. Started by
broker_helper.sh with `-I -S`. Start-up is all it costs, so it imports only what the interpreter has built in (`posix`
for `os`, `_socket` for `socket`), works on bytes, and ends by `_exit`.
"""

import _socket
import posix
from posix import _exit

from broker_answer import ANSWER_MAX, OK, Answer, check_token, fail_as_answered, head_length, parse_head
from broker_connection import try_connect
from broker_request import request
from broker_settings import EX_IOERR, EX_OK, EX_SOFTWARE, EX_UNAVAILABLE, STDOUT, Settings, fail, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def reach_daemon(settings: Settings) -> _socket.socket:
    """Connect to the daemon, starting it if need be and allowed."""
    connection = try_connect(settings)
    if connection is not None:
        return connection
    if not settings.may_start:
        how = "broker start (or: systemctl --user start broker.socket)"
        fail(EX_UNAVAILABLE, f"no daemon listens on {show(settings.socket)}; run: {how}")
    settings.may_start = False  # once a run
    import broker_autostart  # noqa: PLC0415  # the common case does without

    return broker_autostart.start_or_wait(settings)


# Question and answer


def ask(settings: Settings, connection: _socket.socket) -> "Answer | None":
    """Ask for the token; None when the connection closed without a byte of an answer, `settings.heard` or not."""
    settings.heard = True
    connection.settimeout(settings.remaining_ms("no time is left to ask") / 1000)
    try:
        connection.sendall(request(settings))
    except (BrokenPipeError, ConnectionResetError):
        settings.heard = False  # reading tells whether there is an answer nevertheless
    except TimeoutError:
        settings.remaining_ms("the daemon does not read")
    answer = read_answer(settings, connection)
    connection.close()
    return answer


def receive(settings: Settings, connection: _socket.socket, room: int) -> bytes:
    """Read what comes next; empty at the end: a connection that breaks off counts as one that ends."""
    while True:
        connection.settimeout(settings.remaining_ms("the daemon has not answered") / 1000)
        try:
            return connection.recv(room)
        except TimeoutError:
            continue
        except ConnectionResetError:
            settings.heard = False
            return b""
        except OSError as error:
            fail(EX_UNAVAILABLE, f"{show(settings.socket)}: {error.strerror}; see: broker status")


def read_answer(settings: Settings, connection: _socket.socket) -> "Answer | None":
    """Read one HTTP answer strictly; whatever is odd ends the run with 70."""
    answer = bytearray()
    head = status = 0
    need = ANSWER_MAX
    while len(answer) < need:
        received = receive(settings, connection, need - len(answer))
        if not received:
            break
        seen_before = len(answer)
        answer += received
        if not head and (head := head_length(answer, seen_before)):
            status, body = parse_head(bytes(answer[:head]))
            need = min(head + body, ANSWER_MAX)
    if not answer:
        return None
    if not head or (status == OK and len(answer) < need):
        fail(EX_SOFTWARE, "the daemon's answer breaks off; see: broker status")
    return Answer(status, bytes(answer[head:need]))


def print_token(settings: Settings, token: bytes) -> None:
    """Write the token and a newline, whole or not at all as far as the exit code says."""
    left = token + b"\n"
    try:
        while left:
            try:
                left = left[posix.write(STDOUT, left) :]
            except BlockingIOError:
                wait_for_stdout(settings)
        posix.close(STDOUT)  # where a full disk or quota may show only now
    except OSError as error:
        fail(EX_IOERR, f"cannot write the token: {error.strerror}")


def wait_for_stdout(settings: Settings) -> None:
    """Wait until stdout takes more, up to the deadline."""
    import select  # noqa: PLC0415  # seldom needed, and not free

    writable = select.poll()
    writable.register(STDOUT, select.POLLOUT)
    writable.poll(min(settings.remaining_ms("nobody reads it"), 1000))


def run(own_path: str, arguments: "list[str]") -> None:
    """Ask and print.

    A daemon that drains or dies closes connections unanswered: the next one will answer. One that is killed also
    breaks off what still waits at its socket, which may be our second try: that one was asked of nobody.
    """
    settings = Settings(own_path, arguments)
    tries = 1
    while (answer := ask(settings, reach_daemon(settings))) is None:
        if tries >= (2 if settings.heard else 3):
            fail(EX_UNAVAILABLE, "the daemon closed every connection without an answer; see: broker status")
        tries += 1
    if answer.status != OK:
        fail_as_answered(answer)
    check_token(answer)
    print_token(settings, answer.body)


def main(own_path: str, arguments: "list[str]") -> "NoReturn":
    """Run as the executable at `own_path`, and end the process without the interpreter's own clearing up."""
    try:
        run(own_path, arguments)
    except KeyboardInterrupt:
        _exit(130)
    except Exception as error:  # noqa: BLE001  # never a traceback
        fail(EX_SOFTWARE, f"{type(error).__name__}: {error}; this is a bug")
    _exit(EX_OK)
