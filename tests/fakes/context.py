"""What the daemon lends to sources, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.errors import TransientFetchError
from broker.secret import Secret


@dataclass
class FakeSecrets:
    """The records of `broker secret set`; `locked` as after `broker lock`."""

    records: dict[str, Secret] = field(default_factory=dict)
    locked: bool = False

    def get(self, name: str) -> Secret | None:
        """Look it up."""
        self._check()
        return self.records.get(name)

    async def put(self, name: str, value: Secret) -> None:
        """Store it."""
        self._check()
        self.records[name] = value

    async def delete(self, name: str) -> bool:
        """Remove it."""
        self._check()
        return self.records.pop(name, None) is not None

    def _check(self) -> None:
        if self.locked:
            raise TransientFetchError("the stored secrets are locked; run: broker unlock")


@dataclass
class FakeLogin:
    """What is kept of a sign-in; `stores`: whether anything can be."""

    record: Secret | None = None
    stores: bool = True
    command: str = "broker login corp"

    def get(self) -> Secret | None:
        """Look it up."""
        return self.record

    async def put(self, value: Secret) -> bool:
        """Store it, where that is possible."""
        if self.stores:
            self.record = value
        return self.stores

    async def delete(self) -> None:
        """Remove it."""
        self.record = None


@dataclass
class FakeContext:
    """A `Context`; `tokens` are the other credentials', by name."""

    secrets: FakeSecrets = field(default_factory=FakeSecrets)
    tokens: dict[str, Secret] = field(default_factory=dict)
    login: FakeLogin = field(default_factory=FakeLogin)

    fresh: list[str] = field(default_factory=list)

    async def token(self, credential: str, *, fresh: bool = False) -> Secret:
        """Look it up; note of which another one was wanted each time."""
        if fresh:
            self.fresh.append(credential)
        if credential not in self.tokens:
            raise TransientFetchError(f"credential {credential}: not to be had")
        return self.tokens[credential]
