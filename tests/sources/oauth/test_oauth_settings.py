"""What an `oauth` source and its credentials take in the config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker import config
from broker.durations import Duration
from broker.errors import ConfigError
from broker.secret import Secret
from broker.sources import TYPES
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings
from broker.sources.references import Reference
from tests.contracts.source_contract import failure, token_of
from tests.fakes.context import FakeContext
from tests.fakes.oauth import FakeProvider
from tests.sources.oauth.conftest import Sources
from tests.sources.oauth.place import SECRET, STORED

GOOD = {"flow": "client-credentials", "client_id": "me", "token_url": "https://login.example/token"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"token_url": None}, "token_url is missing"),
        ({"flow": "device"}, "device_url is missing"),
        ({"flow": "authorization-code"}, "authorize_url is missing"),
        ({"token_url": "http://login.example/token"}, "token_url must be https"),
        ({"token_url": "https://login.example/token#x"}, "token_url must be a URL"),
        ({"issuer": "login.example"}, "issuer must be a URL"),
        ({"client_id": ""}, "client_id must be"),
        ({"client_auth": "basic"}, "client_secret belongs to"),
        ({"client_auth": "none", "client_secret": STORED}, "client_secret belongs to"),
        ({"client_auth": "private_key_jwt"}, "private_key belongs to"),
        ({"client_auth": "mtls"}, "needs client_cert"),
        ({"client_cert": "/c.pem"}, "belong together"),
        ({"client_cert": "c.pem", "client_key": "k.pem"}, "absolute path"),
        ({"key_id": "k"}, "key_id belongs to"),
        ({"login_scope": "a  b"}, "single blanks"),
        ({"redirect_uri": "https://evil.example/"}, "page of this machine"),
        ({"authorize_params": {"state": "x"}}, "to the broker"),
        ({"authorize_params": {"prompt": 1}}, "must be texts"),
    ],
)
def test_a_source_that_cannot_work_is_a_config_error(wrong: dict[str, Any], words: str) -> None:
    """Said when the config is read, without a value."""
    with pytest.raises(ValueError, match=words):
        OAuthSourceSettings(**{**GOOD, **wrong})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scope": "a\nb"}, "single blanks"),
        ({"scope": ""}, "single blanks"),
        ({"resource": "gateway"}, "absolute URI"),
        ({"resource": "https://[x"}, "absolute URI"),
        ({"resource": "https://gateway.example/#x"}, "absolute URI"),
        ({"subject_token_type": "token"}, "must be a URI, or one of"),
    ],
)
def test_a_credential_that_cannot_work_is_a_config_error(wrong: dict[str, Any], words: str) -> None:
    """Likewise."""
    with pytest.raises(ValueError, match=words):
        OAuthSettings(**wrong)


def test_a_plain_address_is_believed_where_somebody_insists() -> None:
    """Or on this machine."""
    plain = {"token_url": "http://login.example/token?tenant=1"}
    assert OAuthSourceSettings(**{**GOOD, **plain, "allow_http": True}).token_url == plain["token_url"]  # type: ignore[arg-type]  # as in the config
    OAuthSourceSettings(**{**GOOD, "token_url": "http://[::1]:9/token"})  # type: ignore[arg-type]  # as in the config


async def test_a_config_as_people_write_it_serves(idp: FakeProvider, tmp_path: Path) -> None:
    """From its text to the token."""
    text = f"""
    [sources.gateway]
    type = "oauth"
    flow = "client-credentials"
    token_url = "{idp.address}/token"
    client_id = "claude-code"
    client_secret = {{ local = "gateway" }}
    token_audience = "https://gateway.example/"
    timeout = "5s"

    [credentials.work]
    source = "gateway"
    scope = "models.read"
    """
    read = config.parse(text, tmp_path / "config.toml", TYPES)
    context = FakeContext()
    context.secrets.records["gateway"] = Secret(SECRET)
    source, credential = read.sources["gateway"], read.credentials["work"]
    opened = source.type.open(source.settings, context)
    assert token_of(await opened.fetcher(credential.settings, "work").fetch()).startswith("fake-access-")
    assert idp.basic == ("claude-code", SECRET)
    assert credential.timing.max_age_s == 300, "a token without an end is not kept for ever"
    await opened.close()


def test_a_secret_in_the_config_itself_is_refused(tmp_path: Path) -> None:
    """And not quoted."""
    text = '[sources.gateway]\ntype = "oauth"\nflow = "device"\nissuer = "https://x/"\nclient_id = "me"\n'
    with pytest.raises(ConfigError) as caught:
        config.parse(text + 'client_secret = "fake-client-secret"\n', tmp_path / "config.toml", TYPES)
    assert "client_secret" in str(caught.value)
    assert "fake-" not in str(caught.value)


async def test_a_provider_that_does_not_answer_is_given_up_on(sources: Sources) -> None:
    """After the source's time-out."""
    place = sources(timeout=Duration(0.05))
    place.idp.gate.clear()
    assert "no answer within 0.05 s" in str(await failure(place.fetcher()))


@pytest.mark.parametrize("token", ["fake\ntoken", "fake-t\u00f6ken"])
async def test_a_subject_that_is_no_token_is_said(sources: Sources, token: str) -> None:
    """Before it is sent, and without it."""
    place = sources(flow="jwt-bearer", client_secret=None)
    place.context.tokens["other"] = Secret(token)
    error = await failure(place.fetcher(subject_token=Reference(credential="other")))
    assert "subject_token is no token" in str(error)
    assert not place.idp.calls


def test_serving_something_else_loads_no_oauth_library() -> None:
    """They weigh 20 MB."""
    code = "import sys, broker.sources; print([m for m in ('authlib', 'joserfc', 'requests') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
