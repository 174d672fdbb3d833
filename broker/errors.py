"""Every error a user can meet, with the code, HTTP status and exit code that the interfaces promise for it.

Imports nothing. Messages are one line each: what happened, where, and what mends it; never a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class BrokerError(Exception):
    """Base of all errors of this project; by itself it means a bug."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70


class BadRequest(BrokerError):
    """The caller asked for something malformed or ambiguous."""

    code = "bad-request"
    http_status = 400
    exit_code = 64


class NeedsLogin(BrokerError):
    """No valid token is left and a person must act before the source can give one."""

    code = "needs-login"
    http_status = 401
    exit_code = 77


class Refused(BrokerError):
    """This caller may not have this credential."""

    code = "refused"
    http_status = 403
    exit_code = 77


class UnknownCredential(BrokerError):
    """The config names no such credential."""

    code = "unknown-credential"
    http_status = 404
    exit_code = 78


class Locked(BrokerError):
    """The secrets are locked away until a person runs `broker unlock`."""

    code = "locked"
    http_status = 423
    exit_code = 77


class SourceFailed(BrokerError):
    """The source failed and no valid token is left."""

    code = "source-failed"
    http_status = 503
    exit_code = 69


class DeadlineExceeded(BrokerError):
    """The source is still being asked at the caller's deadline."""

    code = "deadline"
    http_status = 504
    exit_code = 75


class Unreachable(BrokerError):
    """No daemon answers on the socket, or what answers there is not ours."""

    code = "unreachable"
    exit_code = 69


class AlreadyRunning(BrokerError):
    """Another daemon holds the socket or the state folder."""

    code = "already-running"
    exit_code = 75


class UnsafePath(BrokerError):
    """A file, folder or socket that others could have tampered with."""

    code = "unsafe-path"
    exit_code = 77


class ConfigError(BrokerError):
    """The config, or a setting in the environment, is wrong. Carries every problem found, one line each."""

    code = "config"
    exit_code = 78

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class StorageError(BrokerError):
    """Nothing can be kept at rest: no home for a key, a full or read-only disk, a file that cannot be read."""

    code = "storage"
    exit_code = 78


class NoKeyHome(StorageError):
    """There is no place yet for the key that would encrypt what is stored; a person may choose a passphrase."""

    code = "no-key-home"


class FetchError(BrokerError):
    """A source could not give a token. The subclass decides whether trying again by itself makes sense."""

    code = "source-failed"
    http_status = 503
    exit_code = 69


class TransientFetchError(FetchError):
    """May go away by itself (network, rate limit, time-out).

    `retry_after_s`: the source asked not to be tried again before so many seconds.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentFetchError(FetchError):
    """Stays until the config, the source's inputs or a person act (denied, not found, bad grant)."""


class LoginRequired(PermanentFetchError):
    """A person can mend it by signing in; the message names the command."""


class LoginPending(FetchError):
    """A person has not confirmed a device code yet: ask again. `slow_down`: less often (RFC 8628, 3.5)."""

    def __init__(self, *, slow_down: bool = False) -> None:
        super().__init__("nobody has confirmed the code yet")
        self.slow_down = slow_down


BY_CODE: dict[str, type[BrokerError]] = {
    error.code: error
    for error in (
        BadRequest,
        NeedsLogin,
        Refused,
        UnknownCredential,
        Locked,
        SourceFailed,
        DeadlineExceeded,
        StorageError,
        NoKeyHome,
        Unreachable,
        BrokerError,
    )
}
"""The errors that cross the control socket, by the code that names them there."""
