"""Whether each credential can be had: a dry fetch, whose token nobody sees.

Through the daemon where one runs, which is asked to refresh what it does not hold; else each source is opened in this
process for the moment. Nothing is revoked, and no token leaves the daemon or this function.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from broker.client import Client
from broker.clock import SystemClock
from broker.config import Config
from broker.engine.vocabulary import Failure, Trouble
from broker.errors import BrokerError, SourceFailed, Unreachable
from broker.model import Issued
from broker.service.attempt import attempt
from broker.service.secrets import Lending
from broker.sources.interface import Returning, Secrets, Source
from broker.storage import threads

PARALLEL_MAX: Final = 16
UNTRIED: Final = "untried"
"""The state of a credential whose turn did not come in time: nothing can be said of it."""
SPARED: Final = "spared"
"""That of one which was not tried, as that would use up what the daemon needs."""
Try = Callable[[], Coroutine[Any, Any, "Tried"]]

_NOT_HELD: Final = frozenset({"empty", "expired"})
_CLOSE_S: Final = 1.0
_DEAD: Final = "the source gives a token that has expired already; look at the source"  # a sentence


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one credential. `state` is one of the status's, `UNTRIED` or `SPARED`; `problem` says why it is not fresh."""

    state: str
    problem: str = ""
    lifetime_s: float | None = None
    warnings: Sequence[tuple[str, str]] = field(default=())


def through_daemon(client: Client, status: Mapping[str, Any], within_s: float) -> dict[str, Tried]:
    """Try every credential of a running daemon; what is not there after `within_s` is given up on."""
    return asyncio.run(_through_daemon(client, status["credentials"], within_s))


def directly(settings: Config, secrets: Secrets, within_s: float) -> dict[str, Tried]:
    """Try every credential of a config in this process, likewise. `secrets`: what is stored."""
    return asyncio.run(_directly(settings, secrets, within_s))


async def _through_daemon(client: Client, entries: Sequence[Mapping[str, Any]], within_s: float) -> dict[str, Tried]:
    def refreshed(name: str) -> Try:
        return lambda: threads.run(lambda: _refreshed(client, name, within_s))

    wanted = {entry["name"]: refreshed(entry["name"]) for entry in entries if entry["state"] in _NOT_HELD}
    held = {entry["name"]: _seen(entry) for entry in entries if entry["name"] not in wanted}
    return held | await _each(wanted, within_s)


def _refreshed(client: Client, name: str, within_s: float) -> Tried:
    try:
        return _seen(client.refresh(name, deadline_s=within_s))
    except Unreachable:
        return _late(within_s)
    except BrokerError as error:
        return Tried("failing", str(error))


def _seen(entry: Mapping[str, Any]) -> Tried:
    warnings = [(str(warn["code"]), str(warn["message"])) for warn in entry["warnings"]]
    return Tried(str(entry["state"]), str(entry["last_error"] or ""), entry["lifetime_s"], warnings)


async def _directly(settings: Config, secrets: Secrets, within_s: float) -> dict[str, Tried]:
    opened: dict[str, Source] = {}
    given: list[tuple[Returning, Issued]] = []

    async def fetched(name: str) -> Issued | Failure:
        credential = settings.credentials[name]
        fetcher = opened[credential.source].fetcher(credential.settings, name)
        outcome = await attempt(fetcher, name, ())
        if isinstance(outcome, Issued) and isinstance(fetcher, Returning):
            given.append((fetcher, outcome))
        return outcome

    async def lent(name: str) -> Issued:
        outcome = await fetched(name)
        if isinstance(outcome, Failure):
            raise SourceFailed(outcome.message)
        return outcome

    context = Lending(secrets, lent)
    opened |= {name: source.type.open(source.settings, context) for name, source in settings.sources.items()}
    spared = {
        name for name, credential in settings.credentials.items() if settings.sources[credential.source].type.spends
    }
    tries = {name: _judging(fetched, name) for name in settings.credentials if name not in spared}
    try:
        return dict.fromkeys(spared, Tried(SPARED)) | await _each(tries, within_s)
    finally:
        for fetcher, issued in given:
            fetcher.superseded(issued, 0.0)
        await _close(opened.values())


def _judging(fetched: Callable[[str], Awaitable[Issued | Failure]], name: str) -> Try:
    async def judged() -> Tried:
        outcome = await fetched(name)
        if isinstance(outcome, Failure):
            return Tried("needs-login" if outcome.trouble is Trouble.LOGIN else "failing", outcome.message)
        if outcome.expires_at is None:
            return Tried("fresh")
        left_s = outcome.expires_at - SystemClock().now().wall
        return Tried("fresh", lifetime_s=left_s) if left_s > 0 else Tried("expired", _DEAD)

    return judged


async def _each(tries: Mapping[str, Try], within_s: float) -> dict[str, Tried]:
    turn = asyncio.Semaphore(PARALLEL_MAX)
    begun = set()

    async def one(name: str) -> Tried:
        async with turn:
            begun.add(name)
            return await tries[name]()

    tasks = {name: asyncio.create_task(one(name)) for name in tries}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=within_s)
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    given_up = {name: _late(within_s) if name in begun else Tried(UNTRIED) for name in tries}
    return {name: given_up[name] if task.cancelled() else task.result() for name, task in tasks.items()}


def _late(within_s: float) -> Tried:
    return Tried("failing", f"the source did not answer within {within_s:.0f} s")


async def _close(sources: Iterable[Source]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await asyncio.gather(*(source.close() for source in sources), return_exceptions=True)
