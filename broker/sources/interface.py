"""What a source is to the rest of the project. Write one file per source beside this one, and register it.

A source speaks only in `Issued` and in the three fetch errors; no exception of a library's crosses it, and no
secret is in an error's text. What needs a heavy library imports it at the first fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from broker.errors import BadRequest
from broker.model import Issued, Kind
from broker.secret import Secret
from broker.sign_in import Invitation, SignIn

DEFAULT_TIMEOUT_S: Final = 30.0
"""How long a fetch may take where the source has no time-out of its own."""


class Fetcher(Protocol):
    """Gets one credential from its source. The engine sees to it that calls never overlap."""

    @property
    def timeout_s(self) -> float:
        """The last resort: whoever runs `fetch` cancels it after this long. The fetcher's own time-out is shorter."""

    async def fetch(self) -> Issued:
        """Get the secret as it is now.

        Raises `TransientFetchError`, `PermanentFetchError` or `LoginRequired`. May be cancelled at any await,
        and leaves no process or thread of its own choosing behind when it is.
        """

    def changed(self) -> bool:
        """Whether the source's inputs (a file, a program) are no longer those that the last `fetch` used.

        Called off the event loop every second or so while the credential is in use. False where it cannot tell.
        """


@runtime_checkable
class Renewing(Protocol):
    """A `Fetcher` that prolongs the token in hand where it can, instead of getting another one."""

    def renounce(self) -> None:
        """The token that the last `fetch` gave was refused, or is unwanted: the next one must be another."""


@runtime_checkable
class Returning(Protocol):
    """A `Fetcher` whose tokens are given back when nobody uses them any more, instead of dying by themselves."""

    def superseded(self, issued: Issued, unused_in_s: float) -> None:
        """Let this token go after so many seconds, until when callers may use it; `Source.close`: at once.

        Of the token in hand only when it is not kept at rest: there the next run finds it, and sessions go on.
        """


class Source(Protocol):
    """One `[sources.NAME]` table, set up. Credentials of one source share it, and with it a login.

    `broker lock` closes it and opens another: what it knows must not outlive it.
    """

    def fetcher(self, settings: Any, credential: str) -> Fetcher:  # noqa: ANN401  # each type has a settings class of its own
        """Bind the own settings of the credential of that name."""

    async def close(self) -> None:
        """Give back what was borrowed (leases, connections), best effort."""


@runtime_checkable
class Interactive(Protocol):
    """A `Source` that a person can sign in to (`broker login`). `broker.service.logins` says what is asked when.

    Every method raises `TransientFetchError` or `PermanentFetchError`.
    """

    @property
    def sign_in(self) -> SignIn | None:
        """How, by this one's settings; None where nobody signs in."""

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        """Ask where to send the person; a sign-in that was begun before is void.

        `redirect_uri`: what the browser is to come back to, as `SignIn.page` asked. None: by a device code.
        """

    async def finish_login(self, state: str, code: str | None) -> bool:
        """Sign in by what the browser brought back; return whether the sign-in is kept when the daemon ends.

        `code` None: ask, once, whether the device code was confirmed. Raises `LoginPending` until it is, and
        `LoginRequired` when it was refused or has expired. Never cancelled: what the provider gave is not lost.
        """

    async def logout(self) -> bool:
        """Give the sign-in back and forget it; return whether there was one."""


class Secrets(Protocol):
    """The records of `broker secret set`, by name. Every method raises `TransientFetchError` while they are locked."""

    def get(self, name: str) -> Secret | None:
        """Return a record; None where there is none. From memory, at once."""

    async def put(self, name: str, value: Secret) -> None:
        """Store a record for good. Raises `TransientFetchError` where nothing can be stored."""

    async def delete(self, name: str) -> bool:
        """Remove a record for good; return whether there was one. Raises `TransientFetchError` as `put` does."""


class LoginRecord(Protocol):
    """What a source keeps of a sign-in that cannot be repeated without a person; the source alone knows its form."""

    @property
    def command(self) -> str:
        """What a person runs to sign in, for messages."""

    def get(self) -> Secret | None:
        """Return it; None where there is none. From memory, at once. Raises `TransientFetchError` while locked."""

    async def put(self, value: Secret) -> bool:
        """Store it for good; False where nothing can be stored now: then the source's own memory is all there is."""

    async def delete(self) -> None:
        """Remove it for good. Raises `TransientFetchError` where what is stored cannot be changed now."""


class Context(Protocol):
    """What the daemon lends to a source."""

    @property
    def secrets(self) -> Secrets:
        """What a person stored here."""

    @property
    def login(self) -> LoginRecord:
        """What is kept of a person's sign-in to this source."""

    async def token(self, credential: str, *, fresh: bool = False) -> Secret:
        """Return the token of another credential of the config, as fresh as any caller gets it.

        `fresh`: one that no source was given before by such a call, as an assertion may be used once. Where only a
        used one can be had (its source is damped, failing, or repeats itself) that is a `TransientFetchError`.

        Raises `TransientFetchError`, `PermanentFetchError` or `LoginRequired`.
        """


class SecretPlace:
    """Base of a settings class that says where a secret lives: the secret's own text in its place is told off.

    `credential`: that other credential of the config whose token it is, if it is one.
    """

    __slots__ = ()
    credential: str | None


class Problems(ValueError):
    """Several things that are wrong with one table, for a `__post_init__` that finds more than one at a time."""

    def __init__(self, *each: str) -> None:
        super().__init__("; ".join(each))
        self.each = each


class Pooling:
    """Base of a source's settings whose credentials give the tokens of other credentials of the config, `members`.

    `strategy`: a value of `broker.engine.pool.Strategy`.
    """

    __slots__ = ()
    members: tuple[str, ...]
    strategy: str


class Variants:
    """Base of settings classes of which one key of the table, `tag`, picks one; itself it has no fields."""

    __slots__ = ()
    tag: ClassVar[str]

    @classmethod
    def variants(cls) -> Mapping[str, type]:
        """Name the settings classes, frozen dataclasses, by the value of that key."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Wish:
    """What a face of the daemon wants of a credential instead of its own token, as the same identity.

    `scopes`: an access token that is good for these alone; `target_audience`: an ID token for this service.
    """

    scopes: tuple[str, ...] = ()
    target_audience: str | None = None


def _no_record(_settings: object, _credential: str) -> str | None:
    return None


def _nothing_else(_settings: object, _wish: Wish) -> object:
    raise BadRequest("this credential has its own token and no other")


def _api_key(_settings: object) -> Kind:
    return Kind.API_KEY


def _the_kinds(_settings: object) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class SourceType:
    """One value of `type = "..."`: which keys it takes on the source and on the credential, and how to open it.

    Both settings classes are frozen dataclasses that compare by value: the config reader derives types, defaults,
    required keys and near misses from their fields, and turns a `ValueError` of `__post_init__`, which quotes no
    value, into an error at that table. It names the keys that it is about: without them the next one is looked for.

    `cacheable`: its tokens may be kept in the encrypted store; not where the secret lies on this machine anyway.
    `max_age_s`: the default of `max_age`: how long a token without an expiry is kept before the source is asked again.
    `record`: of (settings, credential's name), the record of `broker secret set` that this credential is, if it is
    one: its token is dropped as soon as that changes.
    `kind`: of the credential's settings, what it will be, as far as that is known before it was ever fetched: the
    guard judges the first ask by it.
    `derived`: of the credential's settings and a wish, the settings of the credential that grants it, as far as the
    config allows it; the own ones where the own token will do. Raises `BadRequest` where there is no such thing,
    `Refused` where the config does not allow it.
    `audience`: of the source's settings, the base URLs that its credentials are made for, where these are others than
    the usual ones of the kind: the default of `audience`.
    `spends`: each fetch uses something up, so that none is made only to see how it goes.
    """

    name: str
    source_settings: type
    credential_settings: type
    open: Callable[[Any, Context], Source]
    cacheable: bool = True
    max_age_s: float | None = None
    record: Callable[[Any, str], str | None] = _no_record
    kind: Callable[[Any], Kind] = _api_key
    derived: Callable[[Any, Wish], Any] = _nothing_else
    audience: Callable[[Any], tuple[str, ...]] = _the_kinds
    spends: bool = False


@dataclass(frozen=True, slots=True)
class NoSettings:
    """For a source type without keys of its own on the source."""


@dataclass(frozen=True, slots=True)
class PlainSource:
    """A source that its credentials share nothing of: it only binds settings to fetchers."""

    bind: Callable[[Any], Fetcher]

    def fetcher(self, settings: Any, _credential: str) -> Fetcher:  # noqa: ANN401  # each type has a settings class of its own
        """Bind the credential's own settings."""
        return self.bind(settings)

    async def close(self) -> None:
        """Nothing was borrowed."""
