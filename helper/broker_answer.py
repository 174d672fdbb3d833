"""The strict reading of an HTTP answer: what listens on the socket may be broken or hostile. The twin of answer.c."""

from broker_settings import EX_CONFIG, EX_NOPERM, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, fail, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

OK = 200
EXIT_BY_STATUS = {
    400: EX_USAGE,
    401: EX_NOPERM,
    403: EX_NOPERM,
    404: EX_CONFIG,
    423: EX_NOPERM,
    503: EX_UNAVAILABLE,
    504: EX_TEMPFAIL,
}
STATUS_DIGITS, LENGTH_DIGITS = 3, 7
HEAD_MAX, ANSWER_MAX, TOKEN_MAX, REASON_MAX = 32 * 1024, 64 * 1024, 16 * 1024, 500
PRINTABLE = bytes(range(0x21, 0x7F))
CONTROL = bytes(set(range(0x20)) - {0x09}) + b"\x7f"


class Answer:
    """What came back: for 200 the token, else a reason."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body


def refuse(why: str) -> "NoReturn":
    """End the run: what listens on the socket is broken or hostile."""
    fail(EX_SOFTWARE, f"not an answer of the broker: {why}; see: broker status")


def head_length(answer: bytearray, seen_before: int) -> int:
    """Return the length of the head with its closing empty line, or 0 when that has not come yet."""
    end = answer.find(b"\r\n\r\n", max(0, seen_before - 3), HEAD_MAX)
    if end < 0 and len(answer) >= HEAD_MAX:
        refuse("its head has no end")
    return end + 4 if end >= 0 else 0


def parse_head(head: bytes) -> "tuple[int, int]":
    """Return the status and how many bytes of body to read at most."""
    lines = head[:-4].split(b"\r\n")
    together = b"".join(lines)
    if len(together.translate(None, CONTROL)) != len(together):  # one reader would see other lines than the next
        refuse("control characters in its head")
    status = parse_status(lines[0])
    length = parse_headers(lines[1:])
    if status == OK and length is None:
        refuse("a token without a Content-Length")
    if status == OK and not 0 < (length or 0) <= TOKEN_MAX:
        refuse("a token that is empty or too long")
    return status, ANSWER_MAX if length is None else length


def parse_status(line: bytes) -> int:
    """Read `HTTP/1.x NNN ...`."""
    digits = line[9:12]
    framed = line[:7] == b"HTTP/1." and line[7:8].isdigit() and line[8:9] == b" " and line[12:13] in (b"", b" ")
    if not framed or len(digits) < STATUS_DIGITS or not digits.isdigit():
        refuse("its first line is not HTTP/1")
    return int(digits)


def parse_headers(lines: "list[bytes]") -> "int | None":
    """Return the Content-Length, if there is one."""
    length = None
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or b" " in name or b"\t" in name:
            refuse("a header without a name")
        if name.lower() == b"transfer-encoding":
            refuse("it has a Transfer-Encoding")
        if name.lower() == b"content-length":
            if length is not None:  # two readers could take different ones
                refuse("it has two lengths")
            value = value.strip(b" \t")
            if not value.isdigit() or len(value) > LENGTH_DIGITS:
                refuse("its Content-Length is not a number")
            length = int(value)
    return length


def check_token(answer: Answer) -> None:
    """Take one printable ASCII word only: anything else would end up in a header of Claude Code's requests."""
    if answer.body.translate(None, PRINTABLE):
        refuse("a token that is not printable ASCII")


def fail_as_answered(answer: Answer) -> "NoReturn":
    """End the run with the daemon's own reason and the exit code for its status."""
    exit_code = EXIT_BY_STATUS.get(answer.status, EX_SOFTWARE)
    reason = answer.body.replace(b"\r", b"\n").replace(b"\0", b"\n").partition(b"\n")[0][:REASON_MAX]
    fail(exit_code, show(reason) or f"the daemon answered {answer.status} without a reason; see: broker status")
