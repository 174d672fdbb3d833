"""Our side of a setup: which credential Claude Code will be given, and what our config needs for that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from broker.audience import covers, default
from broker.config import Config, CredentialConfig, edit, parse
from broker.config.file import read_text
from broker.config.syntax import load
from broker.config.wording import near
from broker.engine.advice import room_s
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

_LOCAL: Final = '{0}: [credentials.{1}] is added, source = "local": the broker\'s own encrypted store\n'
_AUDIENCE: Final = "{0}: [credentials.{1}] is released for {2} (audience)\n"


@dataclass(frozen=True, slots=True)
class Release:
    """The credential that will be served, and the changes to our config (None: it is fine as it is).

    `is_new`: the changes add it, as one of the broker's own store. `lost`: what it will no longer be released for.
    `kind`: what it will be, as far as its source tells; `region`: the one in the config,
    where it has one.
    """

    credential: CredentialConfig
    plan: ConfigPlan | None
    is_new: bool
    lost: tuple[str, ...]
    kind: Kind = Kind.API_KEY
    region: str | None = None

    @property
    def audience(self) -> tuple[str, ...]:
        """The base URLs that the credential may go to."""
        return self.credential.audience or default(self.kind)

    def holds(self, ttl_s: float, lifetime_s: float) -> bool:
        """Whether tokens of this lifetime can be kept that long: the same that `status` warns of where they cannot."""
        return ttl_s + self.credential.timing.min_validity_s <= room_s(lifetime_s)

    def ttl_s(self, lifetime_s: float | None) -> float:
        """Choose the TTL for tokens of this lifetime: half of it, or less where that leaves no room to renew."""
        if lifetime_s is None:
            return TTL_DEFAULT_S
        timing = self.credential.timing
        longest_s = room_s(lifetime_s) - timing.min_validity_s
        half_s = math.ceil(lifetime_s) / 2  # a token of an hour has lived some milliseconds when it arrives
        return max(TTL_MIN_S, float(int(min(half_s, longest_s, timing.ttl_max_s))))


def find(path: Path, types: Mapping[str, SourceType], name: str | None, base_url: str | None) -> Release:
    """Find the credential `name` (None: the default) in the config at `path`, or add it; release it for `base_url`.

    Nothing is written. Raises `BadRequest`, `ConfigError`, `FileProblem`, `UnknownCredential`.
    """
    file = textfile.read(path)
    if file.text is not None:
        read_text(path)  # for its checks: who may write this file decides where keys go
    served, is_new = _served(file.text or "", path, types, name)
    text = edit.add_local(file.text or "", path, served) if is_new else file.text or ""
    found = _release(parse(text, path, types), served, is_new=is_new)
    if base_url is None or covers(found.audience, base_url):
        plan = ConfigPlan(file, text, (), _LOCAL.format(path, served)) if is_new else None
        return replace(found, plan=plan)
    lost = () if found.credential.audience else found.audience
    text = edit.add_audience(text, path, served, base_url)
    says = (_LOCAL.format(path, served) if is_new else "") + _AUDIENCE.format(path, served, base_url)
    plan = ConfigPlan(file, text, ((served, base_url),), says)
    return replace(_release(parse(text, path, types), served, is_new=is_new), plan=plan, lost=lost)


def _release(config: Config, name: str, *, is_new: bool) -> Release:
    credential = config.credentials[name]
    source = config.sources[credential.source]
    region = getattr(credential.settings, "region", None) or getattr(source.settings, "region", None)
    return Release(credential, None, is_new, (), source.type.kind(credential.settings), region)


def _served(text: str, path: Path, types: Mapping[str, SourceType], name: str | None) -> tuple[str, bool]:
    """Choose the credential; tell whether it has to be added to the config."""
    if name is not None and not NAME.fullmatch(name):
        raise BadRequest("--credential: a name is letters, digits and . _ - (at most 64, no . _ - first)")
    if not load(text, path).get("credentials"):
        return name or FIRST_NAME, True
    config = parse(text, path, types)
    if name is None:
        if config.default is None:
            names = "|".join(config.credentials)
            raise BadRequest(f"{path} has several credentials and no default; say which: --credential {names}")
        return config.default, False
    if name not in config.credentials and (meant := near(name, config.credentials)):
        # Rather a slip than the wish for another credential.
        raise UnknownCredential(f"{path}: no credential is named {name}{meant}")
    return name, name not in config.credentials
