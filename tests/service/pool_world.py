"""A broker with a pool of credentials whose sources do what the test says, each by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from broker.config import CredentialConfig, SourceConfig
from broker.model import Timing
from broker.sources.interface import Context, Fetcher, NoSettings, Pooling, SourceType
from tests.service.scripted import Step
from tests.service.world import FakeSource, World

STATIC = Step(lifetime_s=None)


@dataclass(frozen=True, slots=True)
class PoolOf(Pooling):
    """The fake pool's settings."""

    members: tuple[str, ...]
    strategy: str = "failover"


class PoolWorld(World):
    """`keys` is a pool of `a`, `b`, ..., each of which gives `fake-token-NAME` for ever, unless its script says else."""

    def __init__(self, *names: str, strategy: str = "failover", scripts: dict[str, list[Step]] | None = None) -> None:
        self._names = names or ("a", "b")
        self._scripts = scripts or {}
        super().__init__(names=self._names, default=None)
        type_ = SourceType("fake-pool", PoolOf, NoSettings, self._open, cacheable=False)
        source = SourceConfig("rota", type_, PoolOf(self._names, strategy))
        keys = CredentialConfig("keys", "rota", NoSettings(), Timing(), ())
        self.config = replace(
            self.config,
            default="keys",
            sources={**self.config.sources, "rota": source},
            credentials={**self.config.credentials, "keys": keys},
        )
        self.broker.apply(self.config)

    def _open(self, settings: Any, context: Context) -> FakeSource:  # noqa: ANN401  # the interface's
        self.context = context
        self.sources.append(_ByName(self, settings))
        return self.sources[-1]

    def with_pool(self, *members: str, strategy: str = "failover") -> None:
        """Give the broker a config whose pool has these members."""
        source = replace(self.config.sources["rota"], settings=PoolOf(members, strategy))
        self.config = replace(self.config, sources={**self.config.sources, "rota": source})
        self.broker.apply(self.config)

    def steps(self, name: str) -> list[Step]:
        """Return what the fetches of a credential come to."""
        return self._scripts.get(name, [replace(STATIC, text=f"fake-token-{name}")] * 20)

    def fingerprint(self, name: str) -> str:
        """Name the token that a member holds."""
        keeper = self.broker.keeper(name)
        assert keeper.life.held is not None
        return keeper.fingerprint(keeper.life.held)

    def status(self, name: str = "keys") -> dict[str, Any]:
        """What `status` says of a credential."""
        return self.broker.describe(name)

    def member(self, name: str) -> dict[str, Any]:
        """What it says of a member of the pool."""
        found: dict[str, Any] = next(m for m in self.status()["details"]["members"] if m["name"] == name)
        return found


class _ByName(FakeSource):
    def fetcher(self, settings: Any, credential: str) -> Fetcher:  # noqa: ANN401, ARG002  # the interface's
        assert isinstance(self.world, PoolWorld)
        made = self.world.fetcher_type(self.world.clock).then(*self.world.steps(credential))
        self.world.fetchers.append(made)
        return made
