"""Our side of a setup: which credential Claude Code will be given, and what our config needs for that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker import audience
from broker.config import CredentialConfig, edit, parse
from broker.config.file import read_text
from broker.config.syntax import load
from broker.config.wording import near
from broker.engine.life import YOUNG
from broker.errors import BadRequest, UnknownCredential
from broker.integrations import textfile
from broker.integrations.claude_code.plan import ConfigPlan
from broker.integrations.claude_code.settings import TTL_MIN_S
from broker.model import NAME, Kind
from broker.sources.interface import SourceType

FIRST_NAME: Final = "anthropic"
"""What a first credential is called where a person names none."""

TTL_DEFAULT_S: Final = 300.0
"""Claude Code's own default; right for a key without expiry, and for one whose lifetime nobody has seen yet."""


@dataclass(frozen=True, slots=True)
class Release:
    """The credential that will be served, and the changes to our config (None: it is fine as it is).

    `is_new`: the changes add it, as one of the broker's own store. `lost`: what it will no longer be released for.
    """

    credential: CredentialConfig
    plan: ConfigPlan | None
    is_new: bool
    lost: tuple[str, ...]

    def goes_to(self, url: str) -> bool:
        """Whether the credential may go there."""
        return audience.covers(_audience(self.credential), url)

    def ttl_s(self, lifetime_s: float | None) -> float:
        """Choose the TTL for tokens of this lifetime: half of it, or less where that leaves no room to renew."""
        if lifetime_s is None:
            return TTL_DEFAULT_S
        timing = self.credential.timing
        room_s = (1 - YOUNG) * lifetime_s - timing.min_validity_s
        half_s = math.ceil(lifetime_s) / 2  # a token of an hour has lived some milliseconds when it arrives
        return max(TTL_MIN_S, float(int(min(half_s, room_s, timing.ttl_max_s))))


def find(path: Path, types: Mapping[str, SourceType], name: str | None, base_url: str | None) -> Release:
    """Find the credential `name` (None: the default) in the config at `path`, or add it; release it for `base_url`.

    Nothing is written. Raises `BadRequest`, `ConfigError`, `FileProblem`, `UnknownCredential`.
    """
    file = textfile.read(path)
    if file.text is not None:
        read_text(path)  # for its checks: who may write this file decides where keys go
    text = file.text or ""
    served = _name(load(text, path), path, name)
    is_new = served not in load(text, path).get("credentials", {})
    if is_new:
        text = edit.add_local(text, path, served)
    credential = parse(text, path, types).credentials[served]
    lost: tuple[str, ...] = ()
    released: tuple[tuple[str, str], ...] = ()
    if base_url is not None and not audience.covers(_audience(credential), base_url):
        lost = () if credential.audience else _audience(credential)
        released = ((served, base_url),)
        text = edit.add_audience(text, path, served, base_url)
        credential = parse(text, path, types).credentials[served]
    plan = ConfigPlan(file, text, released) if text != (file.text or "") else None
    return Release(credential, plan, is_new, lost)


def _name(config: Mapping[str, Any], path: Path, name: str | None) -> str:
    known = config.get("credentials", {})
    known = known if isinstance(known, dict) else {}
    if name is None:
        default = config.get("default")
        if isinstance(default, str):
            return default
        if len(known) > 1:
            raise BadRequest(
                f"{path} has several credentials and no default; say which: --credential {'|'.join(known)}"
            )
        return next(iter(known), FIRST_NAME)
    if not NAME.fullmatch(name):
        raise BadRequest("--credential: a name is letters, digits and . _ - (at most 64, no . _ - first)")
    if name not in known and (meant := near(name, known)):
        raise UnknownCredential(f"{path}: no credential is named {name}{meant}")
    return name


def _audience(credential: CredentialConfig) -> tuple[str, ...]:
    return credential.audience or audience.default(Kind.API_KEY)
