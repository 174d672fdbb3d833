"""Pools: which members rest or are missing, and whether each can ever have its turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from broker import audience
from broker.config import Config
from broker.doctor.finding import Finding, error, fine, parted, warning
from broker.doctor.scene import Scene
from broker.sources.interface import Pooling

RESTING: Final = "member-resting"
ALL_RESTING: Final = "all-resting"
MISSING: Final = frozenset({"member-failing", "member-needs-login"})
CODES: Final = MISSING | {RESTING, ALL_RESTING}
"""What the daemon warns of a pool (`broker/service/pool_report.py`): told here, and not with every credential."""


def check(scene: Scene) -> list[Finding]:
    """Look at every pool of the config, and at what the daemon says of it."""
    config = scene.good_config
    pools = {} if config is None else _pools(config)
    if config is None or not pools:
        return [fine("pools", "no pool")]
    found = [finding for name, settings in pools.items() for finding in _out_of_reach(config, name, settings)]
    for entry in scene.status["credentials"] if scene.status is not None else ():
        if entry["name"] in pools:
            found += _told(entry)
    return found or [fine("pools", f"{', '.join(pools)}: every member can serve")]


def _pools(config: Config) -> dict[str, Pooling]:
    found = {name: config.sources[credential.source].settings for name, credential in config.credentials.items()}
    return {name: settings for name, settings in found.items() if isinstance(settings, Pooling)}


def _out_of_reach(config: Config, name: str, settings: Pooling) -> Iterator[Finding]:
    """Find members whose own audience keeps them from everywhere that the pool may go."""
    wanted = config.credentials[name].audience
    for member in settings.members:
        own = config.credentials[member].audience
        if wanted and own and not any(audience.covers(own, url) for url in wanted):
            yield warning(
                "pool-member-unused",
                f"{name}: {member} is never given, as its own audience has none of the pool's",
                "the pool has one key less than it seems",
                f"add {wanted[0]} to `audience` of [credentials.{member}], or take it out of the pool's members",
            )


def _told(entry: Mapping[str, Any]) -> Iterator[Finding]:
    warnings = [(str(one["code"]), str(one["message"])) for one in entry["warnings"]]
    all_rest = ALL_RESTING in dict(warnings)
    name = entry["name"]
    again = f"when upstream takes it again: broker refresh {name}"
    for code, message in warnings:
        if code == ALL_RESTING:
            yield error("pool-all-resting", f"{name}: {message}", "most likely upstream answers no prompt now", again)
        elif code == RESTING and not all_rest:
            yield warning("pool-member-resting", f"{name}: {message}", "the others serve meanwhile", again)
        elif code in MISSING:
            what, mend = parted(f"{name}: {message}", f"broker status {name}")
            yield warning("pool-member-missing", what, "the others serve meanwhile", mend)
