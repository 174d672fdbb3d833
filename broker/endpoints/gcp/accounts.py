"""Which of the config's credentials Google's clients see as service accounts of their machine, and under what names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from broker.endpoints.gcp.tree import Node
from broker.errors import BadRequest, BrokerError, UnknownCredential
from broker.model import Kind
from broker.service.broker import Broker

DEFAULT: Final = "default"

Facts = Mapping[str, str]
Learn = Callable[[str], Awaitable[Facts]]
"""Of a credential's name, what its source tells of it; asks the source if need be."""


class NoAccount(UnknownCredential):
    """There is no such account on this machine."""


class Accounts:
    """The access tokens of Google's that the config has, by the names of the accounts that they are for.

    An account is called by its e-mail, or where its source knows none by the credential's name; one of them is also
    "default".
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def default(self) -> str:
        """Return the credential that clients get who name no account. Raises `NoAccount`."""
        endpoint = self._broker.config.endpoints.gcp
        if endpoint is not None and endpoint.credential is not None:
            return endpoint.credential
        found = self._of_google()
        if len(found) == 1:
            return found[0]
        what = "several access tokens of Google's" if found else "no access token of Google's"
        raise NoAccount(
            f'{self._broker.config.path} has {what}: name the one to serve by [endpoints.gcp] credential = "NAME"'
        )

    def can_wish(self, credential: str) -> bool:
        """Whether its source can make other tokens for the same identity."""
        return self._type(credential) == "gcp"

    def must_be_default(self, credential: str) -> None:
        """Raise `BadRequest` unless this is what clients get who name no account, as most do."""
        if credential != self.default():
            raise BadRequest(
                f"Google's clients get {self.default()} here; to serve {credential} instead, set in"
                f' {self._broker.config.path}: [endpoints.gcp] credential = "{credential}"'
            )

    def known(self, credential: str) -> Facts:
        """Return what its source told of it so far."""
        held = self._broker.keeper(credential).life.held
        return held.issued.details if held is not None else {}

    def kind(self, credential: str) -> Kind | None:
        """Return what a client of it wants; None where it is no token of Google's by its kind, a command's say."""
        return Kind.ACCESS_TOKEN if self._broker.keeper(credential).kind is Kind.ACCESS_TOKEN else None

    async def find(self, account: str, learn: Learn) -> str:
        """Return the credential of an account. Raises `NoAccount`, and for "default" what `learn` raises."""
        if account == DEFAULT:
            return self.default()
        names = self.credentials()
        for name in names:
            if account in (name, self.known(name).get("email")):
                return name
        for name in names:  # an e-mail is known only once its source was asked
            if "email" not in self.known(name) and await _is_called(account, name, learn):
                return name
        raise NoAccount(f"no account {account[:80]!r} here; see: broker status")

    async def all(self, learn: Learn) -> Node:
        """Show the accounts: the default one, and of the others what is known already."""
        default = self.default()
        found = {DEFAULT: _shown(default, await learn(default), default=True)}
        for name in self.credentials():
            shown = _shown(name, self.known(name), default=name == default)
            found.setdefault(str(shown["email"]), shown)
        return found

    async def one(self, account: str, learn: Learn) -> Node:
        """Show one account under the name that it was asked for by. Raises what `find` and `learn` raise."""
        credential = await self.find(account, learn)
        return {account: _shown(credential, await learn(credential), default=credential == self._default_if_any())}

    def credentials(self) -> list[str]:
        """List the accounts' credentials, the default one first: of two with the same e-mail it is the one meant."""
        default = self._default_if_any()
        others = [name for name in self._of_google() if name != default]
        return others if default is None else [default, *others]

    def _default_if_any(self) -> str | None:
        try:
            return self.default()
        except NoAccount:
            return None

    def _of_google(self) -> list[str]:
        known = {keeper.name: keeper.kind for keeper, _ in self._broker.credentials()}
        return [name for name, kind in known.items() if kind is Kind.ACCESS_TOKEN and self._type(name) == "gcp"]

    def _type(self, credential: str) -> str:
        config = self._broker.config
        return config.sources[config.credentials[credential].source].type.name


async def _is_called(account: str, credential: str, learn: Learn) -> bool:
    try:
        return (await learn(credential)).get("email") == account
    except BrokerError:  # whatever ails this one, it may be another's name
        return False


def _shown(credential: str, facts: Facts, *, default: bool) -> dict[str, Node]:
    return {
        "aliases": (DEFAULT,) if default else (),
        "email": facts.get("email", credential),
        "identity": None,
        "scopes": tuple(facts.get("scopes", "").split()),
        "token": None,
    }
