"""Secrets are compared in constant time: each comparison in the source is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.hygiene.comparisons import comparisons

ROOT: Final = Path(__file__).resolve().parents[2]

LOOKED_AT: Final = {
    "broker.cli.demo.command._served_all_the_same": "two `Secret`s, whose == takes constant time",
    "broker.cli.demo.command.crowd": "the same",
    "broker.cli.demo.command.rejection": "the same",
    "broker.model.Issued.same_secret": "the same",
    "broker.service.safe.Safe.unlock": "the same",
    "broker.sources.aws.mfa.MfaCode.take": "the same",
    "broker.sources.vault.wrapping.Wrapping._kept": "our own record with our own config: nobody else may try",
    "broker.storage.audit.chain.parse": "a MAC with its own bytes: is the line written in the one way?",
    "broker.storage.audit.proof._Check._heed": "MACs that stand in the file, for whoever reads it",
    "broker.storage.audit.proof._Check._look": "the same",
    "broker.storage.header._check_whole": "a checksum against accidents; the seal is checked by AES-GCM",
}
"""Functions that compare something that looks like a secret, and why they may."""


@pytest.mark.slow
def test_no_secret_is_compared_by_its_text() -> None:
    """Whoever may try often would learn it from the time that takes: `hmac.compare_digest` and `Secret` do not tell."""
    sources = [path for folder in ("broker", "helper") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [
        one
        for path in sources
        for one in comparisons(path.read_text(), ".".join(path.relative_to(ROOT).with_suffix("").parts))
    ]
    assert [f"{one.where}, line {one.line}: {one.text}" for one in found if one.where not in LOOKED_AT] == []
    assert {one.where for one in found} == set(LOOKED_AT)


@pytest.mark.parametrize(
    "line",
    [
        "token.reveal() == given",
        "given != token.reveal()",
        "given in token.reveal()",
        "given in {held.reveal(), other}",
        "f'Bearer {token.reveal()}' == given",
        "token.reveal().startswith(given)",
        "text = token.reveal()\n    return given == text",
        "text: str = token.reveal().strip()\n    return text in given",
        "return [one for one in [t.reveal() for t in tokens] if one == given]",
        "hmac.new(key, text, 'sha256').hexdigest() == given",
        "self._key.secret == given",
        "passphrase == given",
        "match token.reveal():\n        case 'x': pass",
    ],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    """Straight or by way of a variable."""
    assert comparisons(f"def compare(given, token, tokens, passphrase):\n    {line}\n", "m")


@pytest.mark.parametrize(
    "line",
    [
        "len(token.reveal()) == 3",
        "hmac.compare_digest(token.reveal(), given)",
        "token == other",
        "token.reveal() is None",
        "text = token.reveal()\n    return len(text) == 1",
        "same = token.reveal() is given\n    return same == True",
    ],
)
def test_the_search_leaves_the_rest_alone(line: str) -> None:
    """Lengths, identities, and comparisons that take constant time."""
    assert comparisons(f"def compare(given, token, other):\n    {line}\n", "m") == []
