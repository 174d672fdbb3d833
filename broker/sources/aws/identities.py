"""The identities to begin with: what botocore finds, or keys by reference."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from broker.errors import PermanentFetchError
from broker.model import Issued
from broker.secret import Secret, flaw
from broker.sources import references
from broker.sources.aws.calls import Calls, Doing
from broker.sources.aws.mfa import MfaCode
from broker.sources.aws.sdk import Library
from broker.sources.aws.session import Session
from broker.sources.aws.settings import AwsSourceSettings
from broker.sources.aws.sts import facts
from broker.sources.blocking import Blocking
from broker.sources.command import CommandFetcher, CommandSettings, CommandSourceSettings
from broker.sources.inputs import Inputs
from broker.sources.interface import Context

T = TypeVar("T")

_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
_FILES: Final = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
_SSO_CACHE: Final = "~/.aws/sso/cache"
_NOTHING_FOUND: Final = (
    "no AWS identity is found: no keys in the environment, no such profile's, no container's and no instance's;"
    " set `profile` of the source, or run: aws configure (aws sso login, where that is set up)"
)


class Found:
    """What botocore's own chain finds: as the AWS CLI would, with the source's `profile`."""

    def __init__(self, calls: Calls, mfa: MfaCode | None) -> None:
        self._calls = calls
        self._sdk = calls.sdk
        self._mfa = mfa
        self._thread = Blocking("aws")
        paths = [os.environ.get(name) or default for name, default in _FILES]
        self._inputs = [Inputs(os.path.expanduser(path)) for path in paths]  # noqa: PTH111  # Path.expanduser raises instead
        self._signed_in: float | None = None

    async def session(self) -> Session:
        """Look through the chain, from the beginning, so that the keys are as new as can be."""
        for file in self._inputs:
            file.note()
        self._signed_in = _newest(_SSO_CACHE)
        loop = asyncio.get_running_loop()
        return await self._thread.run(
            lambda: self._calls.worded(lambda: self._load(loop), Doing("find an AWS identity"))
        )

    def changed(self, *, failed: bool) -> bool:
        """Notice another AWS config; and, where that may be what failed, a sign-in by the AWS CLI."""
        signed_in = failed and self._signed_in is not None and _newest(_SSO_CACHE) > self._signed_in
        return signed_in or any(file.changed() for file in self._inputs)

    def _load(self, loop: asyncio.AbstractEventLoop) -> Session:
        from broker.sources.aws.providers import resolver  # noqa: PLC0415  # late: it loads botocore

        library = self._sdk.session()
        answers: dict[str, Any] = {}
        chain = resolver(
            library,
            answers,
            client=lambda service, **arguments: self._client(library, service, **arguments),
            run=lambda argv: _wait(_run(argv), loop),
            code=lambda _prompt: _wait(self._code(), loop),
        )
        credentials = chain.load_credentials()
        if credentials is None:
            raise PermanentFetchError(_NOTHING_FOUND)
        frozen = credentials.get_frozen_credentials()
        # Nothing public of botocore's says when keys end; its own AWS CLI reads this too.
        end = getattr(credentials, "_expiry_time", None)
        return Session(
            frozen.access_key,
            Secret(frozen.secret_key),
            Secret(frozen.token) if frozen.token else None,
            None if end is None else self._sdk.skew.local(end.timestamp()),
            _whose(frozen.access_key, answers.values()),
        )

    def _client(self, library: Library, service: str, **arguments: Any) -> Library:  # noqa: ANN401  # botocore's own
        return self._sdk.create(library, service, arguments.pop("region_name", None), **arguments)

    async def _code(self) -> str:
        if self._mfa is None:
            raise PermanentFetchError("the profile wants an MFA code; set `mfa_code` of the source, a reference to it")
        return (await self._mfa.take()).reveal()


class Given:
    """Keys by reference."""

    def __init__(self, settings: AwsSourceSettings, context: Context) -> None:
        named = {"secret_access_key": settings.secret_access_key, "session_token": settings.session_token}
        self._key_id = settings.access_key_id or ""
        self._places = {name: references.bind(place, context) for name, place in named.items() if place is not None}

    async def session(self) -> Session:
        """Read them."""
        secrets = {name: checked(await place.resolve(), name) for name, place in self._places.items()}
        return replace(Session(self._key_id, secrets["secret_access_key"]), session_token=secrets.get("session_token"))

    def changed(self, *, failed: bool) -> bool:  # noqa: ARG002  # other keys are a reason in any case
        """Notice other keys."""
        return any(place.changed() for place in self._places.values())


def _whose(key_id: str, answers: Iterable[Any]) -> dict[str, str]:
    """Find in STS's answers the role that these keys are of."""
    for answer in answers:
        if isinstance(answer, dict) and answer.get("Credentials", {}).get("AccessKeyId") == key_id:
            return facts(str(answer.get("AssumedRoleUser", {}).get("Arn", "")))
    return {}


def _newest(folder: str) -> float:
    """Return when a file of a folder was written last, 0 where there is none."""
    try:
        return max((entry.stat().st_mtime for entry in Path(folder).expanduser().iterdir()), default=0.0)
    except (OSError, RuntimeError):
        return 0.0


def checked(secret: Secret, name: str) -> Secret:
    """It goes into a header, where not every text may stand. Raises `PermanentFetchError`."""
    if (problem := flaw(secret.reveal())) is not None:
        raise PermanentFetchError(f"what `{name}` of the source names is none: it {problem}")
    return secret


async def _run(argv: tuple[str, ...]) -> Issued:
    try:
        settings = CommandSettings(argv)
    except ValueError as error:
        raise PermanentFetchError(f"the profile's credential_process: {error}") from None
    fetcher = CommandFetcher(CommandSourceSettings(env=_PROXIES), settings)
    return await fetcher.fetch()


def _wait(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Do, from a thread, what belongs to the event loop."""
    return asyncio.run_coroutine_threadsafe(work, loop).result()
