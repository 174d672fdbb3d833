"""What the audience guard would say here, and what keeps a stranger's repository from steering Claude Code at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.doctor import clouds
from broker.doctor.claude import Claude
from broker.doctor.finding import Finding, error, fine, notice, parted, warning
from broker.doctor.scene import Scene
from broker.engine.destination import Refused as RefusedVerdict
from broker.engine.destination.endpoints import BASE_URLS
from broker.errors import BrokerError, Refused
from broker.integrations import project
from broker.integrations.claude_code import installed
from broker.storage import pins

_IGNORE_TRUST: Final = "CLAUDE_CODE_IGNORE_PERSISTED_TRUST"
_KNOWS_IGNORE_TRUST: Final = (2, 1, 330)
"""The first version on which it was seen to work; 2.1.197 does not know it."""

_LOOPBACK: Final = ("http://127.0.0.1", "http://localhost", "http://[::1]")


def check(scene: Scene) -> list[Finding]:
    """Ask the guard about a Claude Code started here, and look whether strangers' settings could steer it."""
    claude = Claude(scene)
    found = [*_verdict(scene, claude), *_cleartext(claude), *_pins(scene)]
    if not found:
        found.append(fine("guard", f"no setting in {scene.folder} or of yours sends a token elsewhere"))
    return [*found, *_unattended(scene, claude)]


def _verdict(scene: Scene, claude: Claude) -> Iterator[Finding]:
    served = clouds.served(scene, claude)
    audience = served.audience if served is not None else ()
    try:
        verdict = project.preview(scene.folder, scene.env, audience, clouds.kind(scene, served), scene.pins_path)
    except Refused as refused:
        verdict = RefusedVerdict(scene.folder, "", str(refused))
    if not isinstance(verdict, RefusedVerdict):
        return
    what, mend = parted(verdict.reason, f"broker allow {scene.folder}")
    if verdict.key.removeprefix("env.") in BASE_URLS:
        code, why = "audience-mismatch", "the credential is not meant for that place, so the guard hands out no token"
    elif not verdict.key:
        code, why = "settings-unreadable", "the guard hands out no token where it cannot see where that would go"
    else:
        code, why = "settings-refused", "such a setting can send the key elsewhere, so the guard hands out no token"
    yield error(code, what, why, mend)


def _cleartext(claude: Claude) -> Iterator[Finding]:
    said = claude.variable("ANTHROPIC_BASE_URL")
    text = said.text if said is not None else None
    if said is not None and text is not None and text.startswith("http:") and not text.startswith(_LOOPBACK):
        what = f"ANTHROPIC_BASE_URL in {said.where} is an http: address"
        yield warning(
            "cleartext", what, "everybody on the way can read the key", "use https:, or a tunnel on 127.0.0.1"
        )


def _pins(scene: Scene) -> Iterator[Finding]:
    if scene.status is not None:
        return  # it warns itself
    try:
        pins.read(scene.places.state)
    except BrokerError as problem:
        what, mend = parted(str(problem), "broker allow")
        yield warning("allowed-broken", what, "what you allowed there does not count", mend)


def _unattended(scene: Scene, claude: Claude) -> Iterator[Finding]:
    """Recommend what keeps a cloned repository's settings out where nobody watches, as far as this version knows it."""
    said = claude.variable(_IGNORE_TRUST)
    found = installed.find(scene.env.get("PATH", ""))
    version = installed.version(found) if found is not None else None
    if found is None or said is not None:
        return
    advice = "claude --setting-sources user"
    if version is None or version >= _KNOWS_IGNORE_TRUST:
        advice = f"for such runs: export {_IGNORE_TRUST}=1; or: {advice}"
    name = "Claude Code" if version is None else f"Claude Code {'.'.join(map(str, version))}"
    yield notice(
        "unattended-trust",
        f"{name} takes up a repository's settings in -p mode without a question",
        "in unattended runs a stranger's repository can steer it and run programs; the guard stops only the key",
        advice,
    )
