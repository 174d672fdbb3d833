"""Whether each credential can be had: a dry fetch, whose token nobody sees.

Through the daemon where one runs, which is asked to refresh what it does not hold; else each source is opened in this
process for the moment. Nothing is revoked, and no token leaves the daemon or this function.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker import locks
from broker.client import Client
from broker.clock import SystemClock
from broker.config import Config
from broker.engine.vocabulary import Failure, Trouble
from broker.errors import AlreadyRunning, BrokerError, SourceFailed, TransientFetchError, Unreachable
from broker.model import Issued
from broker.secret import Secret
from broker.service.attempt import attempt
from broker.service.secrets import Lending, LentSecrets, StoredSecrets
from broker.sources.interface import Secrets, Source
from broker.storage import disk, threads
from broker.storage.homes import OFF
from broker.storage.store import EncryptedStore

PARALLEL_MAX: Final = 8
Try = Callable[[], Coroutine[Any, Any, "Tried"]]

_NOT_HELD: Final = frozenset({"empty", "expired"})
_CLOSE_S: Final = 1.0
_DEAD: Final = "the source gives a token that has expired already; look at the source"  # a sentence
_LOCK_TRIES: Final = 5
_LOCK_AGAIN_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one credential. `state` is one of the status's, and `problem` says why it is not fresh."""

    state: str
    problem: str = ""
    lifetime_s: float | None = None
    warnings: Sequence[tuple[str, str]] = field(default=())


def try_all(
    client: Client, status: Mapping[str, Any] | None, settings: Config | None, folder: Path, within_s: float
) -> dict[str, Tried]:
    """Try every credential; what is not there after `within_s` is given up on. `folder`: the state folder."""
    if status is not None:
        return asyncio.run(_through_daemon(client, status["credentials"], within_s))
    if settings is None:
        return {}
    return asyncio.run(_directly(settings, folder, within_s))


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


async def _directly(settings: Config, folder: Path, within_s: float) -> dict[str, Tried]:
    began = time.monotonic()
    async with _records(settings, folder) as secrets:
        opened: dict[str, Source] = {}

        async def fetched(name: str) -> Issued | Failure:
            credential = settings.credentials[name]
            return await attempt(opened[credential.source].fetcher(credential.settings, name), name, ())

        async def lent(name: str) -> Issued:
            outcome = await fetched(name)
            if isinstance(outcome, Failure):
                raise SourceFailed(outcome.message)
            return outcome

        context = Lending(secrets, lent)
        opened |= {name: source.type.open(source.settings, context) for name, source in settings.sources.items()}
        try:
            left_s = within_s - (time.monotonic() - began)
            return await _each({name: _judging(fetched, name) for name in settings.credentials}, left_s)
        finally:
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

    async def one(attempt_: Try) -> Tried:
        async with turn:
            return await attempt_()

    tasks = {name: asyncio.create_task(one(attempt_)) for name, attempt_ in tries.items()}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=within_s)
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    return {name: _late(within_s) if task.cancelled() else task.result() for name, task in tasks.items()}


def _late(within_s: float) -> Tried:
    return Tried("failing", f"the source did not answer within {within_s:.0f} s")


async def _close(sources: Iterable[Source]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await asyncio.gather(*(source.close() for source in sources), return_exceptions=True)


@asynccontextmanager
async def _records(settings: Config, folder: Path) -> AsyncIterator[Secrets]:
    """Lend the stored secrets. No store is made where there is none, and no passphrase asked for."""
    there = await threads.run(lambda: os.path.lexists(folder / disk.NAME))
    lock = await _locked(folder) if there else None
    if there and lock is None:
        yield _Held()
        return
    store = EncryptedStore(folder, settings.daemon.persist if there else OFF)
    try:
        await store.open()
        yield LentSecrets(StoredSecrets(store))
    finally:
        await store.close()
        if lock is not None:
            os.close(lock)


async def _locked(folder: Path) -> int | None:
    """Take the state folder's lock; None where somebody keeps it. Who merely looks at it has it for an instant."""
    for _ in range(_LOCK_TRIES):
        with suppress(AlreadyRunning):
            return locks.take(folder, locks.STATE)
        await asyncio.sleep(_LOCK_AGAIN_S)
    return None


class _Held:
    """The stored secrets of a daemon that does not answer."""

    def get(self, _name: str) -> Secret | None:
        """Say why nothing can be seen."""
        raise TransientFetchError("another daemon holds the stored secrets and does not answer; run: broker restart")

    async def put(self, name: str, _value: Secret) -> None:
        """Say the same."""
        self.get(name)

    async def delete(self, name: str) -> bool:
        """Say the same."""
        return self.get(name) is not None
