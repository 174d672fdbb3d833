"""What lies below an error of an HTTP library, and what the system means by it, in our words. Loads no such library."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """Give the error and what lies below it: libraries wrap what the system says several times, in different ways."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        found = todo.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        facts = getattr(found, "kwargs", None)  # botocore's
        below = facts.get("error") if isinstance(facts, dict) else None
        todo += [found.__context__, found.__cause__, getattr(found, "reason", None), below, *found.args]


def words(cause: BaseException) -> str:
    """Say what the system says; nothing where it is not the system that speaks."""
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not to be trusted ({cause.verify_message})"
        case ssl.SSLError():
            reason = getattr(cause, "reason", None) or "no reason given"
            return f"TLS fails ({str(reason).lower().replace('_', ' ')})"
        case socket.gaierror():
            return "its name is not known (DNS)"
        case ConnectionRefusedError():
            return "nothing listens there (connection refused)"
        case OSError() if cause.strerror:
            return f"cannot be reached ({cause.strerror})"
    return ""
