"""Claude Code's settings: whether it asks our helper, what would win over it, and for how long it keeps a token."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Final

from broker.config.wording import near
from broker.doctor import clouds, federation
from broker.doctor.claude import Claude, Helper, Said
from broker.doctor.finding import Finding, error, fine, warning
from broker.doctor.scene import Scene
from broker.engine.advice import YOUNG, room_s
from broker.engine.destination import Scope
from broker.engine.destination.endpoints import FIRST_PARTY, PROVIDERS
from broker.integrations.claude_code import telemetry
from broker.integrations.claude_code.release import TTL_DEFAULT_S, Release
from broker.integrations.claude_code.settings import BASE_URL, TTL_MIN_S

_SETUP: Final = "broker setup claude-code"
_STRONGER: Final = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
_PROVIDERS: Final = {
    provider.switch: provider.switch.replace("_USE_", "_SKIP_") + "_AUTH"
    for provider in PROVIDERS
    if provider.url != FIRST_PARTY.url
}
"""Each switch to another provider, and the one by which that provider's requests carry the helper's key after all."""

_TTL: Final = "CLAUDE_CODE_API_KEY_HELPER_TTL_MS"
_CREDENTIAL: Final = "BROKER_CREDENTIAL"
_NO_KEY: Final = "Claude Code gets no key from it"


def check(scene: Scene) -> list[Finding]:
    """Look at what a Claude Code that would be started here would use."""
    claude = Claude(scene)
    helpers = claude.helpers()
    found = [
        *_helper(scene, claude, helpers),
        *_stronger(claude),
        *_providers(claude),
        *_telemetry(claude),
        *_ttl(scene, claude),
        *federation.findings(scene, claude),
    ]
    return found or [fine("claude-code", f"{helpers[0].file} names our helper" if helpers else "set up for a cloud")]


def _helper(scene: Scene, claude: Claude, helpers: list[Helper]) -> Iterator[Finding]:
    if not helpers:
        if clouds.bedrock_way(claude) or clouds.has_metadata(claude):
            return  # it gets its credential without a helper
        why = "Claude Code signs in some other way, or not at all"
        yield warning("not-set-up", "no settings of Claude Code's name our helper", why, _SETUP)
        return
    used = helpers[0]
    if not used.is_ours:
        yield _foreign(used, ours_below=any(other.is_ours for other in helpers))
        return
    yield from _program(scene, used)
    yield from _credential(scene, claude, used)


def _foreign(used: Helper, *, ours_below: bool) -> Finding:
    what, why = f"{used.file} names another helper ({used.described})", "our helper is never asked"
    if used.scope is Scope.PROJECT:
        why += ", and in -p mode that one runs as you without a question"
    mend = f"take apiKeyHelper out of {used.file}"
    if ours_below:
        return error("helper-overridden", f"{what}, which wins over ours", why, mend)
    return warning("helper-foreign", what, why, f"{_SETUP} --yes" if used.scope is Scope.USER else f"{mend}; {_SETUP}")


def _program(scene: Scene, used: Helper) -> Iterator[Finding]:
    if not used.program.startswith("/"):
        yield warning(
            "helper-relative",
            f"{used.file} names {used.program}, not an absolute path",
            "it is looked for in PATH or the present folder, where a project can put a program of its own",
            _SETUP,
        )
    elif shutil.which(used.program) is None:
        yield error("helper-gone", f"{used.file}: {used.program} is not there, or cannot be run", _NO_KEY, _SETUP)
    elif os.path.realpath(used.program) != os.path.realpath(scene.helper):
        yield warning(
            "helper-other",
            f"{used.file} names {used.program}, and the helper of this installation is {scene.helper}",
            "after an upgrade of one the other is an old one",
            _SETUP,
        )


def _credential(scene: Scene, claude: Claude, used: Helper) -> Iterator[Finding]:
    config = scene.good_config
    if config is None or claude.served() is not None:
        return
    mend = f"{_SETUP} --credential {next(iter(config.credentials))}"
    by_variable = claude.variable(_CREDENTIAL)
    if used.credential is not None:
        # Not shown: it could be the secret itself, put there by mistake.
        meant = near(used.credential, config.credentials)
        what = f"{used.file}: the helper asks for a credential that {config.path} does not know{meant}"
        yield error("helper-unknown-credential", what, _NO_KEY, mend)
    elif by_variable is not None:
        what = f"{_CREDENTIAL} in {by_variable.where} names a credential that {config.path} does not know"
        yield error("helper-unknown-credential", what, _NO_KEY, f"unset {_CREDENTIAL}; or {mend}")
    else:
        what = f"{used.file}: the helper names no credential, and {config.path} has no default"
        yield error("helper-names-none", what, _NO_KEY, mend)


def _stronger(claude: Claude) -> Iterator[Finding]:
    for name in _STRONGER:
        if (said := claude.variable(name)) is not None:
            mend = (
                f"take it out of {said.file}" if said.file else f"unset {name}; and out of your shell's start-up files"
            )
            why = "Claude Code sends that one, also when it has expired, and never asks the helper"
            yield error("stray-key", f"{name} in {said.where} wins over the helper", why, mend)


def _providers(claude: Claude) -> Iterator[Finding]:
    for name, skip in _PROVIDERS.items():
        said = claude.variable(name)
        if said is None or not claude.is_on(name) or claude.is_on(skip) or clouds.signed_by_us(claude, name):
            continue
        mend = f"take it out of {said.file}" if said.file else f"unset {name}"
        yield warning(
            "provider-wins",
            f"{name} in {said.where} makes Claude Code use that provider's own sign-in",
            "our helper is not asked",
            f"{mend}; or have it ask us: {_SETUP} --provider {clouds.PROVIDERS.get(name, 'litellm')}",
        )


def _telemetry(claude: Claude) -> Iterator[Finding]:
    base_url, switch = _text(claude.variable(BASE_URL[-1])), _text(claude.variable(telemetry.SWITCH[-1]))
    if not telemetry.takes_key_elsewhere(base_url, switch):
        return
    yield warning(
        "telemetry-takes-key",
        f"{telemetry.SWITCH[-1]} is not set, and requests go to a base URL that is not Anthropic's",
        telemetry.REASON,
        f'{_SETUP}; or set it to "{telemetry.ON}" in the settings\' env',
    )


def _text(said: Said | None) -> str | None:
    return None if said is None else said.text


def _ttl(scene: Scene, claude: Claude) -> Iterator[Finding]:
    said = claude.variable(_TTL)
    text = str(TTL_DEFAULT_S * 1000).partition(".")[0] if said is None else (said.text or "")
    where = f"{_TTL} in {said.where}" if said is not None else f"{_TTL}, which nobody sets,"
    if not (text.isascii() and text.isdigit()):
        what = f"{where} is no whole number of milliseconds"
        yield warning("ttl-malformed", what, "nobody knows how long Claude Code keeps a token", f"{_SETUP} --ttl auto")
        return
    ttl_s = int(text[:15]) / 1000
    if ttl_s < TTL_MIN_S:
        why = "that often it cannot be told whether a token was refused, or only its time is over"
        yield warning("ttl-too-short", f"{where} is {ttl_s:g} s", why, f"{_SETUP} --ttl auto")
        return
    yield from _too_long(scene, claude, where, ttl_s)


def _too_long(scene: Scene, claude: Claude, where: str, ttl_s: float) -> Iterator[Finding]:
    served = claude.served()
    tried = scene.tried().get(served.name) if served is not None else None
    if served is None or tried is None or tried.lifetime_s is None:
        return
    lifetime_s = tried.lifetime_s
    if ttl_s + served.timing.min_validity_s <= room_s(lifetime_s):
        return
    fits_s = Release(served, None, is_new=False, lost=()).ttl_s(lifetime_s)
    mend = f"{_SETUP} --ttl {fits_s:g}s"
    if fits_s + served.timing.min_validity_s > room_s(lifetime_s):
        mend += f'; and set min_validity = "{int(lifetime_s * YOUNG)}s" for {served.name} in the config'
    yield warning(
        "ttl-too-long",
        f"{where} is {ttl_s:g} s, and tokens of {served.name} live {lifetime_s:.0f} s",
        "Claude Code keeps using tokens that have expired, or nearly so",
        mend,
    )
