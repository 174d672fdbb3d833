"""Each credential by a dry fetch."""

from __future__ import annotations

from collections.abc import Iterator

from broker.doctor import trial
from broker.doctor.areas import pools
from broker.doctor.finding import Finding, error, fine, notice, parted, warning
from broker.doctor.scene import Scene
from broker.doctor.trial import Tried

_NO_TOKEN = "who asks for it gets no token"  # noqa: S105  # a sentence


def check(scene: Scene) -> list[Finding]:
    """Say of each credential whether a token is there, or comes."""
    if scene.status is not None and scene.status["daemon"]["locked"]:
        return []  # told of the daemon
    tried = scene.tried()
    found = [finding for name, one in tried.items() for finding in _judged(name, one)]
    untried = [name for name, one in tried.items() if one.state == trial.UNTRIED]
    if untried:
        what = f"{len(untried)} of {len(tried)} could not be tried in time, {untried[0]} first"
        mend = f"mend the others; then: broker refresh {untried[0]}"
        found.append(notice("credentials-untried", what, "nothing is known of these", mend))
    spared = [name for name, one in tried.items() if one.state == trial.SPARED]
    if spared:
        what = f"{', '.join(spared)}: not tried, as no daemon runs"
        why = "a try uses up an assertion, which the daemon could not use again"
        found.append(notice("credential-spared", what, why, "broker start; then again: broker doctor"))
    if found or not tried:
        return found
    whole = f"{len(tried)} of {len(tried)} can be had" if len(tried) > 1 else f"{next(iter(tried))} can be had"
    return [fine("credentials", whole)]


def _judged(name: str, one: Tried) -> Iterator[Finding]:
    what, mend = parted(one.problem or f"its token is {one.state}", f"broker refresh {name}")
    match one.state:
        case "fresh" | trial.UNTRIED | trial.SPARED:
            pass
        case "stale" if not one.warnings:
            yield warning("credential-stale", f"{name}: {what}", "a token is still served, but not for long", mend)
        case "stale":
            pass  # its warnings say why
        case "needs-login":
            yield error("needs-login", f"{name}: {what}", f"{_NO_TOKEN} until a person signed in", mend)
        case _:
            yield error("source-failed", f"{name}: {what}", _NO_TOKEN, mend)
    for code, message in (one for one in one.warnings if one[0] not in pools.CODES):
        what, mend = parted(message, f"broker status {name}")
        yield warning(f"credential-{code}", f"{name}: {what}", "the daemon itself warns of it", mend)
