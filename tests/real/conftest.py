"""Fixtures for tests on real programs: an upstream, a private place for a daemon, a developer's Claude Code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import setup_claude_code
from tests.real import mint
from tests.real.claude import Claude
from tests.real.installed import HELPER, Daemon, Place, a_place, running
from tests.real.upstream import Upstream, serving

Need = Callable[[bool, str], None]
Developer = Callable[..., Claude]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An API that accepts exactly the tokens of its own mint."""
    with serving() as server:
        yield server


@pytest.fixture
def place(need: Need) -> Iterator[Place]:
    """A private config, state folder and socket, without a daemon yet."""
    need(HELPER.exists(), f"{HELPER} is missing")
    with a_place() as made:
        yield made


@pytest.fixture
def daemon(place: Place, upstream: Upstream) -> Iterator[Daemon]:
    """A running daemon whose only credential, `work`, is a command that asks the upstream's mint."""
    place.configure(minting_config(upstream))
    with running(place) as started:
        yield started


@pytest.fixture
def developer(need: Need, place: Place, upstream: Upstream) -> Developer:
    """Give `developer(version, ttl_s=..., settings={...})`: a Claude Code whose helper is ours."""

    def developer_(version: str, *, ttl_s: float = 300, settings: Mapping[str, Any] | None = None) -> Claude:
        binary = setup_claude_code.binary(version)
        need(binary.exists(), f"Claude Code {version} is missing")
        env = {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": str(round(ttl_s * 1000))}
        helper = {"apiKeyHelper": f"{HELPER} work", "env": env}
        return Claude.settle(
            binary,
            place.folder / f"claude-{version}",
            settings=helper | dict(settings or {}),
            upstream_url=upstream.url,
            env=place.env,
        )

    return developer_


def minting_config(upstream: Upstream) -> str:
    """Write the config of a developer whose company's command mints a token (TOML strings are JSON strings)."""
    argv = json.dumps([sys.executable, str(Path(mint.__file__)), upstream.mint_url])
    return f"""
[credentials.work]
source = "command"
argv = {argv}
min_validity = "2s"
audience = ["{upstream.url}"]
"""
