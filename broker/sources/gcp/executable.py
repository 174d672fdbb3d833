"""An external account whose token a program prints: run by the rules of every program that we run.

google-auth passes the daemon's whole environment on, looks the program up in a PATH, takes its errors for output, and
quotes that output in its own. Protocol: https://google.aip.dev/auth/4117.

Loads google-auth: import it from a thread, at the first call.
"""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from google.auth import pluggable
from google.auth.exceptions import GoogleAuthError

from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.sources import process, program
from broker.sources.command import passed_on
from broker.sources.complaint import last_line
from broker.sources.gcp.document import Info

ALLOW: Final = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"
"""Google's own switch; that others can write the JSON must not be enough to run what it names."""

_CACHE_MAX: Final = 64 * 1024


def credentials(info: Info, scopes: Sequence[str], *, allowed: bool) -> Any:  # noqa: ANN401  # google-auth has no types
    """Make the credentials. Raises `PermanentFetchError` where no program may be run."""
    if not allowed and os.environ.get(ALLOW) != "1":
        raise PermanentFetchError(
            "the credentials' JSON names a program to run; if you trust it, set allow_executable = true for the source"
        )
    return _Credentials.from_info(info, scopes=list(scopes))


class _Credentials(pluggable.Credentials):  # type: ignore[misc]  # google-auth has no types
    """Only how the program is run differs."""

    def retrieve_subject_token(self, _request: object) -> str:
        """Run it, unless what it wrote before still holds."""
        kept = self._kept()
        if kept is not None:
            return kept
        try:
            argv = shlex.split(self._credential_source_executable_command)
            argv[0] = program.resolve(argv[0])
        except (ValueError, IndexError) as error:
            raise PermanentFetchError(f"credential_source.executable.command: {error}") from None
        return self._token(Path(argv[0]).name, self._output(argv))

    def _output(self, argv: Sequence[str]) -> bytes:
        name = Path(argv[0]).name
        limit_s = self._credential_source_executable_timeout_millis / 1000
        try:
            finished = process.run(argv, self._environment(), limit_s, threading.Event())
        except process.TimedOut:
            raise TransientFetchError(
                f"{name}: no answer within {limit_s:g} s (timeout_millis), so it was killed"
            ) from None
        except process.TooMuchOutput:
            raise TransientFetchError(f"{name}: printed more than {process.OUTPUT_MAX // 1024} KiB") from None
        except OSError as error:
            raise TransientFetchError(f"{name}: cannot be started ({error.strerror})") from None
        if finished.returncode != 0 and not finished.stdout:
            said = last_line(finished.stderr, b"", ())
            raise TransientFetchError(f"{name}: exit status {finished.returncode}" + (f": {said}" if said else ""))
        return finished.stdout

    def _token(self, name: str, output: bytes) -> str:
        try:
            return _text(self._parse_subject_token(json.loads(output)))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise TransientFetchError(f"{name}: prints no answer of Google's protocol for executables") from None
        except GoogleAuthError as error:
            said = last_line(str(error).encode(), b"", ())
            raise TransientFetchError(f"{name}: {said}") from None

    def _kept(self) -> str | None:
        """Return what the program wrote to `output_file`, if that still holds."""
        path = self._credential_source_executable_output_file
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if path else None
            if descriptor is None:
                return None
            with os.fdopen(descriptor, "rb") as file:
                kept = json.loads(file.read(_CACHE_MAX))
            return _text(self._parse_subject_token(kept)) if "expiration_time" in kept else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, GoogleAuthError, FetchError):
            return None

    def _environment(self) -> dict[str, str]:
        environment = passed_on()
        self._inject_env_variables(environment)
        environment["GOOGLE_EXTERNAL_ACCOUNT_REVOKE"] = "0"
        environment[ALLOW] = "1"
        return {name: str(value) for name, value in environment.items() if value is not None}


def _text(token: object) -> str:
    if not isinstance(token, str) or not token:
        raise ValueError
    return token
