"""Writes the audit trail in a thread of its own, so that no disk ever delays an answer.

Who records puts a few facts into a bounded queue and is done. The thread writes all that is there in one go; while
the disk refuses or is slow it keeps what it has and tries again, the queue fills, and what no longer fits is
counted: `warnings` tells of it, and so does the trail when it can be written again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.errors import BrokerError, StorageError
from broker.storage.audit import files
from broker.storage.audit.chain import Facts, Key, Link
from broker.storage.audit.proof import Verdict, verify
from broker.storage.audit.trail import Entry, Trail

log = logging.getLogger(__name__)

QUEUE_MAX: Final = 4096
BATCH_MAX: Final = 512
ANCHOR_EVERY_S: Final = 60.0
"""The encrypted store remembers the trail's last line so often at most: each time writes the whole store."""

RETRY_S: Final = 1.0
SLOW_S: Final = 5.0
"""A disk that takes longer for a write does not keep up."""

CLOSE_S: Final = 2.0
"""How long the end waits for the disk."""

Job = Callable[[], None]
Remember = Callable[[Link], None]


class Audit:
    """The audit trail in `folder`. Make it at once, `record` at once; the thread begins with `start`."""

    def __init__(
        self,
        folder: Path,
        remember: Remember = lambda _link: None,
        *,
        anchor_every_s: float = ANCHOR_EVERY_S,
        retry_s: float = RETRY_S,
        file_max: int | None = None,
    ) -> None:
        self._folder = folder
        self._remember = remember
        self._anchor_every_s = anchor_every_s
        self._retry_s = retry_s
        self._options = {} if file_max is None else {"file_max": file_max}
        self._queue: queue.Queue[Entry | Job | None] = queue.Queue(QUEUE_MAX)
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._closing = threading.Event()
        self._trail: Trail | None = None
        self._key: Key | None = None
        self._known: Link | None = None
        self._lost = 0  # counted by who records
        self._lost_told = 0  # by the thread
        self._failure: str | None = None
        self._busy_since: float | None = None
        self._remembered_at = 0.0

    # --- called by the daemon -----------------------------------------------------------------------------------

    def record(self, at: float, facts: Facts) -> None:
        """Note what happened at `at` (epoch seconds). Returns at once, never raises."""
        try:
            self._queue.put_nowait(Entry(at, facts))
        except queue.Full:
            self._lost += 1

    def start(self, key: Key, known: Link | None) -> None:
        """Begin to write under `key`; called again, go on under this key. `known`: what the store remembers."""
        if self._thread.is_alive():
            self._submit(lambda: self._rekey(key, known))
        else:
            self._key, self._known = key, known
            self._thread.start()

    def verify(self) -> Future[Verdict]:
        """Check the whole trail, between two writes. The future may raise `StorageError`."""
        answer: Future[Verdict] = Future()
        if not self._submit(lambda: self._verify(answer)):
            answer.set_exception(StorageError("the audit trail is not written at present; see: broker status"))
        return answer

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What a person should know, as (code, message)."""
        return [*self._failing(), *self._disturbed()]

    def _failing(self) -> list[tuple[str, str]]:
        busy_since = self._busy_since
        slow = busy_since is not None and time.monotonic() - busy_since > SLOW_S
        failure = self._failure or ("the disk does not answer" if slow else None)
        lost = self._lost - self._lost_told
        if failure is None and not lost:
            return []
        counted = f"{lost} events are lost" if lost else "no event is lost yet"
        message = f"{files.current(self._folder)}: {failure or 'the disk is too slow'}; {counted}; mend that, and it goes on by itself"
        return [("audit-failing", message)]

    def _disturbed(self) -> list[tuple[str, str]]:
        reason = self._trail.disturbed if self._trail is not None else ""
        message = f"{files.current(self._folder)}: {reason}, and not by the daemon; see: broker audit --verify"
        return [("audit-changed", message)] if reason else []

    def close(self) -> None:
        """Write what is there, as far as the disk takes it within `CLOSE_S`."""
        if not self._thread.is_alive():
            return
        self._closing.set()
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(CLOSE_S)

    def _submit(self, job: Job) -> bool:
        if not self._thread.is_alive():
            return False
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    # --- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        batch: list[Entry] = []
        job: Job | None = None  # nothing yet: but the trail says that the daemon runs, before anything happens
        while True:
            self._busy_since = time.monotonic()
            self._write(batch)
            if job is not None:
                job()
            ending = self._closing.is_set() and self._queue.empty()
            self._remember_end(soon=ending)
            self._busy_since = None
            if ending:
                break
            batch, job = self._next()
        if self._trail is not None:
            self._trail.close()

    def _next(self) -> tuple[list[Entry], Job | None]:
        """Wait for something to do; return all entries that are there, up to the next job."""
        batch: list[Entry] = []
        with suppress(queue.Empty):
            item = self._queue.get(timeout=None if self._is_remembered() else self._anchor_every_s)
            while item is not None:
                if not isinstance(item, Entry):
                    return batch, item
                batch.append(item)
                if len(batch) == BATCH_MAX:
                    break
                item = self._queue.get_nowait()
        return batch, None

    def _write(self, batch: list[Entry]) -> None:
        """Write these, trying again while the disk refuses; at the daemon's end, once."""
        while batch or self._trail is None:
            last_try = self._closing.is_set()
            try:
                self._append(batch)
            except (OSError, BrokerError) as error:
                self._note_failure(error)
                if last_try:
                    self._lost += len(batch)
                    return
                self._closing.wait(self._retry_s)
            else:
                self._failure = None
                return

    def _append(self, batch: list[Entry]) -> None:
        assert self._key is not None  # noqa: S101  # for the type checker; `start` set it
        if self._trail is None:
            self._trail = Trail(self._folder, self._key, self._known, **self._options)
        lost = self._lost - self._lost_told
        if lost:
            facts: Facts = {"event": "lost", "times": lost, "reason": self._failure or "the disk is too slow"}
            self._trail.append([*batch, Entry(time.time(), facts)])
            self._lost_told += lost
        elif batch:
            self._trail.append(batch)

    def _note_failure(self, error: Exception) -> None:
        said = str(error) if isinstance(error, BrokerError) else getattr(error, "strerror", None) or str(error)
        if self._failure is None:
            log.warning("the audit trail cannot be written: %s", said)
        self._failure = said

    def _is_remembered(self) -> bool:
        return self._trail is None or self._trail.link == self._known

    def _remember_end(self, *, soon: bool) -> None:
        """Tell the store of the last line, once the disk has it: after a loss of power they must agree."""
        trail, now = self._trail, time.monotonic()
        if trail is None or self._is_remembered() or not (soon or now - self._remembered_at >= self._anchor_every_s):
            return
        with suppress(OSError):
            trail.sync()
            self._known, self._remembered_at = trail.link, now
            self._remember(trail.link)

    def _rekey(self, key: Key, known: Link | None) -> None:
        self._key, self._known = key, known
        try:
            if self._trail is not None:
                self._trail.rekey(key, known)
        except (OSError, BrokerError) as error:
            self._note_failure(error)

    def _verify(self, answer: Future[Verdict]) -> None:
        assert self._key is not None  # noqa: S101  # for the type checker; `start` set it
        if not answer.set_running_or_notify_cancel():
            return  # who asked waits no more
        try:
            end = self._trail.link if self._trail is not None else None
            answer.set_result(verify(self._folder, self._key, end=end, known=self._known))
        except (OSError, BrokerError) as error:
            answer.set_exception(StorageError(f"the audit trail cannot be read: {error}"))
