"""A `[sources.NAME]` of type `aws`, and its credentials."""

from __future__ import annotations

import threading
from contextlib import suppress

from broker.errors import PermanentFetchError
from broker.model import Issued, Kind
from broker.secret import Secret
from broker.sign_in import Invitation, SignIn
from broker.sources.aws import bedrock, stored
from broker.sources.aws.calls import Doing
from broker.sources.aws.chain import Chain
from broker.sources.aws.refusals import KeysRefused
from broker.sources.aws.sdk import CALL_S
from broker.sources.aws.session import Session
from broker.sources.aws.settings import AwsSettings, AwsSourceSettings
from broker.sources.aws.sso.identity import WAYS, Sso
from broker.sources.aws.sso.profile import SsoOfProfile
from broker.sources.blocking import Blocking
from broker.sources.interface import Context, Fetcher


class AwsSource:
    """One identity, and what it becomes."""

    def __init__(self, settings: AwsSourceSettings, context: Context) -> None:
        self.chain = Chain(settings, context)
        by_profile = SsoOfProfile(self.chain.calls, context) if settings.profile is not None else None
        self._person: Sso | SsoOfProfile | None = self.chain.sso or by_profile

    def fetcher(self, settings: AwsSettings, _credential: str) -> Fetcher:
        """Bind what is to be made of the session."""
        if settings.kind in {"secretsmanager", "ssm"}:
            return StoredFetcher(self.chain, settings)
        return SessionFetcher(self.chain, settings)

    @property
    def sign_in(self) -> SignIn | None:
        """By a browser or a device code, where the settings have `sso`, or the profile may."""
        return WAYS if self._person is not None else None

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        """Ask where the person is to go."""
        return await self._sso.begin_login(redirect_uri)

    async def finish_login(self, state: str, code: str | None) -> bool:
        """Sign in, for all who share it."""
        kept = await self._sso.finish_login(state, code)
        self.chain.forget()
        return kept

    async def logout(self) -> bool:
        """Sign out, for all who share it."""
        self.chain.forget()
        return await self._sso.logout()

    @property
    def _sso(self) -> Sso | SsoOfProfile:
        if self._person is None:
            raise PermanentFetchError("nobody signs in here: the source has neither `sso` nor a profile")
        return self._person

    def warm(self) -> None:
        """Load botocore, in a thread, before it is needed."""
        with suppress(RuntimeError):  # the system gives no more threads
            threading.Thread(target=self._warmed, name="aws", daemon=True).start()

    async def close(self) -> None:
        """Forget every session; AWS takes none back."""
        if self._person is not None:
            await self._person.close()
        await self.chain.close()

    def _warmed(self) -> None:
        with suppress(Exception):  # such as a profile that is not there: calls tell
            self.chain.calls.sdk.client("sts", None)


class SessionFetcher:
    """Gives the session itself, or a Bedrock API key that is made of it."""

    def __init__(self, chain: Chain, settings: AwsSettings) -> None:
        self._chain = chain
        self._settings = settings
        self._thread = Blocking("aws")
        self._inputs: int | None = None
        self._given: Session | None = None
        self._refused: Session | None = None

    @property
    def timeout_s(self) -> float:
        """Every call has its own time-out."""
        return self._chain.timeout_s

    async def fetch(self) -> Issued:
        """Get a session."""
        self._inputs = self._chain.inputs
        self._given = session = await self._chain.fresh(self._refused)
        return await self._thread.run(lambda: self._issued(session))

    def renounce(self) -> None:
        """Have the next be another: its keys were refused."""
        self._refused = self._given

    def changed(self) -> bool:
        """Notice other inputs of the identity."""
        return self._inputs is not None and self._chain.look() != self._inputs

    def _issued(self, session: Session) -> Issued:
        sdk, wanted = self._chain.calls.sdk, self._settings
        if wanted.kind == "bedrock-api-key":
            made = bedrock.api_key(session, sdk.region(wanted.region), wanted.duration)
            return Issued(made.parts, made.expires_at, made.kind, {**made.details, **self._chain.facts})
        parts = {
            "access_key_id": Secret(session.access_key_id),
            "secret_access_key": session.secret_access_key,
            "session_token": session.session_token,
        }
        region = wanted.region or sdk.known_region()
        details = {**session.details, **({"region": region} if region else {}), **self._chain.facts}
        given = {name: secret for name, secret in parts.items() if secret is not None}
        return Issued(given, session.expires_at, Kind.AWS_SESSION, details)


class StoredFetcher:
    """Reads a secret of Secrets Manager's, or a parameter of Parameter Store's."""

    def __init__(self, chain: Chain, settings: AwsSettings) -> None:
        self._chain = chain
        self._settings = settings
        self._thread = Blocking("aws")
        self._inputs: int | None = None

    @property
    def timeout_s(self) -> float:
        """Every call has its own time-out."""
        return self._chain.timeout_s + 3 * CALL_S

    async def fetch(self) -> Issued:
        """Read it; where AWS refuses the keys, by others and once more."""
        self._inputs = self._chain.inputs
        session = await self._chain.usable()
        try:
            return await self._read(session)
        except KeysRefused:
            return await self._read(await self._chain.usable(session))

    def changed(self) -> bool:
        """Notice other inputs of the identity; a new version is noticed by its age (`max_age`)."""
        return self._inputs is not None and self._chain.look() != self._inputs

    async def _read(self, session: Session) -> Issued:
        wanted = self._settings
        region = await self._thread.run(lambda: self._chain.calls.sdk.region(wanted.region))
        secretly = wanted.kind == "secretsmanager"
        read, place = (stored.secret, wanted.secret_id) if secretly else (stored.parameter, wanted.parameter)
        text, facts = await self._chain.calls.run(
            self._thread,
            lambda client: read(client, wanted),
            session,
            Doing(f"read {place}"),
            service=wanted.kind,
            region=region,
        )
        known = {name: session.details[name] for name in ("account_id", "role") if name in session.details}
        return stored.issued(text, wanted, {**facts, **known, "region": region, **self._chain.facts})
