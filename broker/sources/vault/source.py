"""A `[sources.NAME]` of type `vault`, and its credentials."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, Final

from broker.errors import FetchError, PermanentFetchError
from broker.model import Issued
from broker.sign_in import Invitation, Page, SignIn
from broker.sources.blocking import Blocking
from broker.sources.interface import Context, Fetcher
from broker.sources.vault import reading
from broker.sources.vault.connection import Client
from broker.sources.vault.login import Login, seconds
from broker.sources.vault.person import Person
from broker.sources.vault.reading import Found, Lease, Mount
from broker.sources.vault.refusals import BadInput, Denied, NotFound
from broker.sources.vault.session import Session, now
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings

_CALLS: Final = 4
"""At most so many calls after another in a fetch: sign in, find the mount, read, and once more with another login."""
_WORTH_RENEWING: Final = 1 / 2
"""A renewal that gives less than this share of the lease runs into its longest life: get another one."""

_PAGE: Final = Page("localhost", 8250, "/oidc/callback")
"""What `vault login -method=oidc` uses, so that roles usually allow it (`allowed_redirect_uris`)."""


class VaultSource:
    """One server, and one login there."""

    def __init__(self, settings: VaultSourceSettings, context: Context) -> None:
        self.session = Session(settings, context)
        self._mounts: dict[str, Mount] = {}
        self._finding = asyncio.Lock()
        self._fetchers: list[VaultFetcher] = []

    def fetcher(self, settings: VaultSettings, _credential: str) -> Fetcher:
        """Bind one path."""
        made = VaultFetcher(self, settings)
        self._fetchers.append(made)
        return made

    @property
    def sign_in(self) -> SignIn | None:
        """By a browser, where `auth` is `oidc`."""
        return SignIn(_PAGE) if self.session.person is not None else None

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        """Ask the server where the browser is to go."""
        return await self._person.begin(redirect_uri or "")

    async def finish_login(self, state: str, code: str | None) -> bool:
        """Take what the browser brought back."""
        return await self.session.signed_in(self._person, state, code or "")

    async def logout(self) -> bool:
        """Give leases and our token back, and forget the sign-in."""
        await asyncio.gather(*(fetcher.give_back() for fetcher in self._fetchers), return_exceptions=True)
        return await self.session.signed_out(self._person)

    @property
    def _person(self) -> Person:
        if self.session.person is None:
            raise PermanentFetchError("nobody signs in here: `auth` is another method than oidc")
        return self.session.person

    async def close(self) -> None:
        """Give back leases and tokens."""
        await asyncio.gather(*(fetcher.give_back() for fetcher in self._fetchers), return_exceptions=True)
        await self.session.close()

    async def mount(self, path: str, login: Login, thread: Blocking) -> Mount | None:
        """Find the mount of a path, once for all that lies in it; None where we may not know."""
        async with self._finding:
            if (known := self.known_mount(path)) is not None:
                return known
            try:
                answer = await self.session.call(
                    thread, lambda client: _mount_of(client, path), login, "find the mount"
                )
            except (Denied, NotFound, BadInput):  # the read itself says more
                return None
            found = Mount.of(answer)
            if found is not None:
                self._mounts[found.path] = found
            return found

    def known_mount(self, path: str) -> Mount | None:
        """Return the mount of a path, if it was found already."""
        return next((mount for prefix, mount in self._mounts.items() if f"{path}/".startswith(prefix)), None)

    def forget_mounts(self) -> None:
        """Look them up again: one may have been moved or upgraded."""
        self._mounts.clear()


class VaultFetcher:
    """Reads one path, or renews the lease that reading it gave."""

    def __init__(self, source: VaultSource, settings: VaultSettings) -> None:
        self._source = source
        self._session = source.session
        self._settings = settings
        self._thread = Blocking("vault")
        self._borrowed: _Borrowed | None = None
        self._told = False

    @property
    def timeout_s(self) -> float:
        """Each call has its own time-out."""
        return _CALLS * (self._session.settings.timeout + 1) + 5

    async def fetch(self) -> Issued:
        """Get the secret; where the server refuses our token, by another login and once more."""
        began = now()
        if self._lost:
            self._told = True
        login = await self._session.login()
        try:
            return await self._issued(login)
        except Denied as denied:
            if login.began >= began:  # it is as new as can be
                raise self._denied(denied, login) from None
        login = await self._session.after_refusal(login)
        try:
            return await self._issued(login)
        except Denied as denied:
            raise self._denied(denied, login) from None

    def changed(self) -> bool:
        """Notice another secret to sign in with, and a lease that dies with the login it was got by."""
        # Said until a fetch begins and no longer: repeated, it would use up the engine's attempts in seconds.
        return (self._lost and not self._told) or self._session.changed()

    @property
    def _lost(self) -> bool:
        return self._borrowed is not None and not self._session.current(self._borrowed.login)

    def renounce(self) -> None:
        """Renew the present lease no more: what it is for was refused."""
        if self._borrowed is not None:
            self._borrowed.refused = True

    async def give_back(self) -> None:
        """Revoke the lease, where no revoked login takes it along."""
        borrowed, self._borrowed = self._borrowed, None
        if borrowed is not None and not borrowed.login.ours:
            await self._session.call(
                Blocking("vault"),
                lambda client: client.sys.revoke_lease(borrowed.lease.id),
                borrowed.login,
                "revoke a lease",
            )

    async def _issued(self, login: Login) -> Issued:
        renewed = await self._renewed(login)
        if renewed is not None:
            return renewed
        found = await self._read(login)
        issued = self._within(found.issued, login)
        self._borrowed = None if found.lease is None else _Borrowed(found.lease, login, issued)
        self._told = False
        return issued

    # --- leases -------------------------------------------------------------------------------------------------

    async def _renewed(self, login: Login) -> Issued | None:
        """Prolong the present lease; None where there is none, or it is better to get another one."""
        borrowed = self._borrowed
        if borrowed is None or not borrowed.renewable_by(login):
            return None
        lease = borrowed.lease
        began = time.time()
        try:
            answer = await self._session.call(
                self._thread,
                lambda client: client.sys.renew_lease(lease.id, increment=int(lease.duration_s) or None),
                login,
                "renew the lease",
            )
        except PermanentFetchError:  # it is gone, or may not be renewed
            return None
        duration_s = seconds(answer.get("lease_duration")) if isinstance(answer, dict) else 0.0
        if duration_s < _WORTH_RENEWING * lease.duration_s:
            return None
        borrowed.issued = self._within(replace(borrowed.issued, expires_at=began + duration_s), login)
        return borrowed.issued

    def _within(self, issued: Issued, login: Login) -> Issued:
        """A lease dies with the login: where that cannot be renewed, believe its end."""
        if not issued.borrowed or login.renewable or issued.expires_at is None:
            return issued
        return replace(issued, expires_at=min(issued.expires_at, time.time() + login.ends_at - now()))

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read(self, login: Login) -> Found:
        settings = self._settings
        mount = None if settings.data is not None else await self._source.mount(settings.path, login, self._thread)
        if settings.version is not None and mount is not None and not mount.is_v2:
            raise PermanentFetchError(f"{settings.path}: {mount.path} keeps no versions; remove version")
        path = reading.api_path(settings, mount)
        began = time.time()
        try:
            answer = await self._session.call(self._thread, lambda client: _call(client, settings, path), login, path)
        except NotFound as absent:
            self._source.forget_mounts()
            raise PermanentFetchError(reading.absence(settings, absent.body) or self._missing(absent)) from None
        if answer is None:
            raise PermanentFetchError(f"{path}: nothing there")
        return reading.found(answer, settings, began)

    def _missing(self, absent: FetchError) -> str:
        if "no handler for route" in str(absent):
            return f"{self._settings.path}: no engine is mounted there; see: bao secrets list (or vault secrets list)"
        version = "" if self._settings.version is None else f" of version {self._settings.version}"
        return f"{self._settings.path}: there is no such secret{version}; see: bao kv list"

    def _denied(self, denied: FetchError, login: Login) -> PermanentFetchError:
        mount = self._source.known_mount(self._settings.path)
        path = reading.api_path(self._settings, mount)
        capability = "read" if self._settings.data is None else "update"
        hint = f'ask for a policy with: path "{path}" {{ capabilities = ["{capability}"] }}'
        if mount is None and self._settings.data is None:
            hint += ", or mend path: no engine is to be seen there"
        if not login.known:
            hint = f"the token is expired or revoked, or {hint}"
        return PermanentFetchError(f"{denied}; {hint}")


class _Borrowed:
    """The lease in hand."""

    def __init__(self, lease: Lease, login: Login, issued: Issued) -> None:
        self.lease = lease
        self.login = login
        self.issued = issued
        self.refused = False

    def renewable_by(self, login: Login) -> bool:
        return self.lease.renewable and login is self.login and not self.refused and not self._over

    @property
    def _over(self) -> bool:
        return (self.issued.expires_at or 0.0) <= time.time()


def _mount_of(client: Client, path: str) -> Any:  # noqa: ANN401  # JSON
    return client.adapter.get(f"/v1/sys/internal/ui/mounts/{path}")


def _call(client: Client, settings: VaultSettings, path: str) -> Any:  # noqa: ANN401  # JSON
    if settings.data is not None:
        return client.adapter.post(f"/v1/{path}", json=dict(settings.data))
    params = {} if settings.version is None else {"version": settings.version}
    return client.adapter.get(f"/v1/{path}", params=params)
