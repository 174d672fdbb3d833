"""Anthropic's workload identity federation: whether its tokens reach Claude Code in a way that works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.doctor.claude import Claude
from broker.doctor.finding import Finding, notice, warning
from broker.doctor.scene import Scene

_TYPE: Final = "anthropic"
_OWN: Final = ("ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_PROFILE")
"""By one of these Claude Code signs in itself, where no helper is set (measured with 2.1.197 and 2.1.330)."""


def findings(scene: Scene, claude: Claude) -> Iterator[Finding]:
    """Look where such a token goes, and whether Claude Code's own exchange is in force."""
    yield from _by_helper(scene, claude)
    yield from _own_exchange(claude)


def _by_helper(scene: Scene, claude: Claude) -> Iterator[Finding]:
    served = claude.served()
    if served is None or not _is_federated(scene, served.name):
        return
    yield warning(
        "federation-by-helper",
        f"the helper gives Claude Code {served.name}, a token by federation",
        "Claude Code sends it as x-api-key and as a bearer, without the anthropic-beta header that such a token wants:"
        " Anthropic's own API may refuse it; a gateway that takes any bearer does not",
        f"broker export {served.name} --format anthropic-profile, and take apiKeyHelper out of the settings",
    )


def _own_exchange(claude: Claude) -> Iterator[Finding]:
    helpers = claude.helpers()
    said = next(((name, said) for name in _OWN if (said := claude.variable(name)) is not None), None)
    if said is None or not helpers:
        return
    name, where = said
    yield notice(
        "federation-idle",
        f"{name} in {where.where} is not looked at: the helper in {helpers[0].file} wins",
        "Claude Code makes no exchange of its own as long as there is an apiKeyHelper",
        f"take apiKeyHelper out of {helpers[0].file}; or unset {name}",
    )


def _is_federated(scene: Scene, credential: str) -> bool:
    config = scene.good_config
    return config is not None and config.sources[config.credentials[credential].source].type.name == _TYPE
