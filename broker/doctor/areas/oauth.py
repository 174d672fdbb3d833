"""Providers of OAuth tokens: whether they can be reached, whether our clocks agree, and how long a sign-in lasts yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from broker.doctor.finding import Finding, error, fine, parted, warning
from broker.doctor.scene import Scene
from broker.sources.oauth import OAUTH
from broker.sources.oauth.probe import Probed, probe
from broker.sources.oauth.signed import ENDS

_WITHIN_S: Final = 4.0
_AT_ONCE: Final = 8
_APART_S: Final = 60.0
"""Providers allow a minute or so between the clocks."""
_SOON_S: Final = 24 * 3600.0
_WHY_CLOCK: Final = "the provider refuses what we sign as not yet or no longer valid, and its tokens seem to expire too early or too late"


def check(scene: Scene) -> list[Finding]:
    """Ask each provider that the config names."""
    settings = scene.good_config
    sources = {} if settings is None else {n: s.settings for n, s in settings.sources.items() if s.type is OAUTH}
    if not sources:
        return [fine("oauth", "no source of this type")]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        probed = dict(zip(sources, threads.map(lambda one: probe(one, _WITHIN_S), sources.values()), strict=True))
    found = [finding for name, one in probed.items() for finding in _judged(name, one)]
    found += [finding for entry in _entries(scene, set(sources)) for finding in _ending(entry, scene.now)]
    return found or [fine("oauth", f"{len(sources)} of {len(sources)} providers can be reached")]


def _judged(name: str, probed: Probed) -> Iterator[Finding]:
    if probed.trouble is not None:
        what, mend = parted(probed.trouble, f"check [sources.{name}]")
        yield error("oauth-unreachable", f"source {name}: {what}", "it gives no tokens until it can be reached", mend)
    if probed.ahead_s is not None and abs(probed.ahead_s) > _APART_S:
        side = "ahead of" if probed.ahead_s > 0 else "behind"
        what = f"source {name}: this machine's clock is {abs(probed.ahead_s):.0f} s {side} the provider's"
        yield warning("oauth-clock", what, _WHY_CLOCK, "set the clock, and keep it so: sudo timedatectl set-ntp true")


def _entries(scene: Scene, sources: set[str]) -> list[Mapping[str, Any]]:
    entries = scene.status["credentials"] if scene.status is not None else []
    return [entry for entry in entries if entry["source"] in sources]


def _ending(entry: Mapping[str, Any], now: float) -> Iterator[Finding]:
    with suppress(KeyError, TypeError, ValueError):
        left_s = datetime.fromisoformat(entry["details"][ENDS]).timestamp() - now
        if left_s < _SOON_S:
            what = f"{entry['name']}: the sign-in ends in {max(0.0, left_s) / 3600:.0f} h"
            yield warning("sign-in-ending", what, "then nobody gets a token", f"broker login {entry['source']}")
