"""How a token of workload identity federation reaches Claude Code and the SDKs, each in the way that it understands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.cli import formats
from broker.errors import BadRequest

BY_FILE: dict[str, Any] = {
    "credential": "work",
    "kind": "api-key",
    "expires_at": "2027-01-15T08:00:00Z",
    "token": "sk-ant-oat01-fake-1",
    "organization_id": "org-fake",
    "federation_rule_id": "fdrl_fake",
    "service_account_id": "svac_fake",
    "base_url": "https://api.anthropic.com",
    "identity_token_file": "/var/run/secrets/it's a token",
}
BY_OTHER = {key: value for key, value in BY_FILE.items() if key != "identity_token_file"}
PLAIN = {"credential": "work", "kind": "api-key", "token": "fake-token-1"}


def written(form: str, credential: dict[str, Any]) -> str:
    """Write it."""
    return formats.FORMATS[form](credential, None)


def test_a_token_file_is_named_by_variables_that_hold_no_secret() -> None:
    """The program makes the exchange itself, with the file as it then is; what would win over it is unset."""
    text = written("anthropic-env", BY_FILE | {"workspace_id": "wrkspc_fake"})
    assert text.splitlines() == [
        "unset ANTHROPIC_API_KEY",
        "unset ANTHROPIC_AUTH_TOKEN",
        "unset ANTHROPIC_PROFILE",
        "export ANTHROPIC_ORGANIZATION_ID=org-fake",
        "export ANTHROPIC_FEDERATION_RULE_ID=fdrl_fake",
        "export ANTHROPIC_SERVICE_ACCOUNT_ID=svac_fake",
        "export ANTHROPIC_WORKSPACE_ID=wrkspc_fake",
        "export ANTHROPIC_IDENTITY_TOKEN_FILE='/var/run/secrets/it'\"'\"'s a token'",
    ]


def test_a_profile_names_the_token_file_and_holds_no_secret() -> None:
    """As the SDKs write it."""
    assert json.loads(written("anthropic-profile", BY_FILE | {"base_url": "https://eu.example"})) == {
        "version": "1.0",
        "organization_id": "org-fake",
        "base_url": "https://eu.example",
        "authentication": {
            "type": "oidc_federation",
            "federation_rule_id": "fdrl_fake",
            "service_account_id": "svac_fake",
            "identity_token": {"source": "file", "path": "/var/run/secrets/it's a token"},
        },
    }


def test_without_a_token_file_the_profile_takes_the_token_that_is_put_beside_it() -> None:
    """Which `anthropic-credentials` writes."""
    profile = json.loads(written("anthropic-profile", BY_OTHER))
    assert profile == {"version": "1.0", "organization_id": "org-fake", "authentication": {"type": "user_oauth"}}
    assert json.loads(written("anthropic-credentials", BY_OTHER)) == {
        "version": "1.0",
        "type": "oauth_token",
        "access_token": "sk-ant-oat01-fake-1",
        "expires_at": 1800000000,
    }


def test_without_a_token_file_there_is_nothing_to_name() -> None:
    """An error that says what to use."""
    with pytest.raises(BadRequest, match=r"its assertion is no file .* use --format anthropic-profile"):
        written("anthropic-env", BY_OTHER)


@pytest.mark.parametrize("form", ["anthropic-env", "anthropic-profile", "anthropic-credentials"])
def test_another_credential_has_none_of_these(form: str) -> None:
    """An API key in such a file would be refused by the API, with words that help nobody."""
    with pytest.raises(BadRequest, match="for a credential of a source of type anthropic"):
        written(form, PLAIN)


def test_claude_code_gets_it_by_the_variable_that_makes_it_send_the_beta_header() -> None:
    """`broker exec work -- claude` works; as ANTHROPIC_API_KEY it would go out as a key, which it is not."""
    assert formats.variables(BY_OTHER, None) == {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-fake-1"}
    assert formats.unwanted(BY_OTHER) == ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE")
    assert formats.variables(PLAIN, None) == {"ANTHROPIC_API_KEY": "fake-token-1"}
    assert formats.unwanted(PLAIN) == ()


def test_its_headers_are_a_bearer_and_the_beta() -> None:
    """What the API wants with it."""
    assert json.loads(written("headers", BY_OTHER)) == {
        "authorization": "Bearer sk-ant-oat01-fake-1",
        "anthropic-beta": "oauth-2025-04-20",
    }
