"""LiteLLM's management of keys, as its `/key/generate` and `/key/delete` answer (read off version 1.106).

LiteLLM itself makes keys only with a database whose client needs a program that no package registry has; so a real
one asks this, by `custom_auth`, which keys are good (tests/real/litellm.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from broker.durations import parse
from tests.fakes.json_server import Answer, Asked, JsonServer

MASTER_KEY = "sk-fake-master-key-1"


@dataclass
class Made:
    """One key, with its birth, its end and when it was deleted, in epoch seconds."""

    key: str
    wish: dict[str, Any]
    made_at: float
    ends_at: float
    deleted_at: float | None = None

    @property
    def good(self) -> bool:
        """Whether LiteLLM would take it now."""
        return self.deleted_at is None and time.time() < self.ends_at


@dataclass
class FakeLiteLLM(JsonServer):
    """The keys that were made. `skew_s`: its clock is so far ahead of ours; `next_key`: what the next one will be."""

    made: list[Made] = field(default_factory=list)
    accepted: list[tuple[str, bool]] = field(default_factory=list)
    skew_s: float = 0.0
    says_expiry: bool = True
    next_key: str | None = None
    models: frozenset[str] | None = None

    @property
    def alive(self) -> list[str]:
        """Name the keys that are good now."""
        return [made.key for made in self.made if made.good]

    @property
    def refused(self) -> list[str]:
        """Name the keys that somebody came with in vain."""
        return [key for key, good in self.accepted if not good]

    def answer(self, asked: Asked) -> Answer:
        """Make, delete, or judge a key."""
        if asked.path.startswith("/accepts"):
            return self._judge(asked.headers.get("authorization", "").removeprefix("Bearer "))
        if asked.headers.get("authorization") != f"Bearer {MASTER_KEY}":
            sent = asked.headers.get("authorization", "")
            said = f"Authentication Error, Invalid proxy server token passed. Received API Key = sk-...{sent[-4:]}"
            return _error(401, said, "token_not_found_in_db")
        match asked.path:
            case "/key/generate":
                return self._make(asked.body)
            case "/key/delete":
                return self._delete(asked.body)
        return Answer(404, {"detail": "Not Found"})

    def _judge(self, key: str) -> Answer:
        good = key in self.alive
        self.accepted.append((key, good))
        return Answer(200, {"good": good})

    def _make(self, wish: dict[str, Any]) -> Answer:
        alias = wish.get("key_alias")
        if any(made.wish.get("key_alias") == alias and made.deleted_at is None for made in self.made):
            said = f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
            return _error(400, said, "bad_request_error")
        if self.models is not None and not set(wish.get("models", ())) <= self.models:
            return _error(400, "models: not allowed for this team", "bad_request_error")
        now = time.time()
        key = self.next_key or f"sk-fake-key-{len(self.made) + 1}"
        self.next_key = None
        made = Made(key, wish, now, now + parse(wish["duration"]))
        self.made.append(made)
        expires = datetime.fromtimestamp(made.ends_at + self.skew_s, UTC).isoformat()
        body = {"key": key, "key_alias": alias, "token_id": "fake-token-id"}
        dated = {"Date": datetime.fromtimestamp(now + self.skew_s, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
        return Answer(200, body | ({"expires": expires} if self.says_expiry else {}), dated)

    def _delete(self, wish: dict[str, list[str]]) -> Answer:
        keys, aliases = wish.get("keys", []), wish.get("key_aliases", [])
        found = [made for made in self.made if made.key in keys or made.wish.get("key_alias") in aliases]
        if not found:
            return _error(404, {"error": "No keys found"}, "internal_server_error")
        for made in found:
            made.deleted_at = made.deleted_at or time.time()
        return Answer(200, {"deleted_keys": keys or aliases})


@contextmanager
def fake_litellm() -> Iterator[FakeLiteLLM]:
    """Run one until the block ends."""
    made = FakeLiteLLM()
    with made.serving():
        yield made


def _error(status: int, message: object, kind: str) -> Answer:
    return Answer(status, {"error": {"message": message, "type": kind, "param": "None", "code": str(status)}})
