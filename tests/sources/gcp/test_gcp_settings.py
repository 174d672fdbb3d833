"""What a `gcp` source and its credentials take in the config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.config import parse
from broker.errors import BadRequest, ConfigError, Refused
from broker.model import Kind
from broker.sources import TYPES
from broker.sources.gcp import GCP
from broker.sources.gcp.settings import CLOUD_PLATFORM, GcpSettings, GcpSourceSettings
from broker.sources.interface import Wish

STORAGE = "https://www.googleapis.com/auth/devstorage.read_only"
BIGQUERY = "https://www.googleapis.com/auth/bigquery"

WHOLE = f"""
default = "vertex"

[sources.google]
type = "gcp"
credentials = {{ keyring = "google/key" }}
impersonate = "target@corp-project.iam.gserviceaccount.com"
delegates = ["between@corp-project.iam.gserviceaccount.com"]
quota_project = "corp-project"
project = "corp-project"
universe_domain = "cloud.example"
allow_executable = true
api_endpoints = {{ secretmanager = "https://secretmanager.corp.example" }}
timeout = "5s"

[sources.me]
type = "gcp"
sign_in = {{ client_id = "x.apps.googleusercontent.com", client_secret = {{ env = "SECRET" }}, scopes = ["{CLOUD_PLATFORM}"] }}

[credentials.vertex]
source = "gcp"

[credentials.gateway]
source = "google"
kind = "id-token"
target_audience = "https://gateway.example"

[credentials.stored]
source = "me"
kind = "secret"
secret = "projects/corp-project/secrets/claude"
version = 3
field = "keys.0"
location = "europe-west1"

[credentials.narrow]
source = "google"
scopes = ["{STORAGE}"]
id_tokens = ["https://gateway.example"]
"""


def read(text: str) -> Any:  # noqa: ANN401  # a config
    """Read a config."""
    return parse(text, Path("/config.toml"), TYPES, {})


def test_everything_that_can_be_said_is_read() -> None:
    """A source without settings is application default credentials, named by its type."""
    config = read(WHOLE)
    kinds = {name: GCP.kind(credential.settings) for name, credential in config.credentials.items()}
    assert kinds == {
        "vertex": Kind.ACCESS_TOKEN,
        "gateway": Kind.ID_TOKEN,
        "stored": Kind.API_KEY,
        "narrow": Kind.ACCESS_TOKEN,
    }
    assert config.credentials["vertex"].settings.scopes == (CLOUD_PLATFORM,)
    stored = config.credentials["stored"].settings
    assert (stored.project, stored.secret, stored.version) == ("corp-project", "claude", 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"delegates": ("a@b",)}, "delegates belongs to impersonate"),
        ({"ca_cert": "ca.pem"}, "ca_cert must be an absolute path"),
        ({"impersonate": "not an e-mail"}, "impersonate: expected the e-mail"),
        ({"impersonate": "a@b/../c"}, "impersonate: expected the e-mail"),
        ({"impersonate": "a@b", "delegates": ("c",)}, "delegates: expected the e-mail"),
        ({"quota_project": "a b"}, "quota_project: expected the ID"),
        ({"project": "../x"}, "project: expected the ID"),
        ({"universe_domain": "evil"}, "universe_domain must be a domain"),
        ({"universe_domain": "evil.example/x"}, "universe_domain must be a domain"),
    ],
)
def test_a_source_that_makes_no_sense_says_what_was_expected(settings: dict[str, Any], words: str) -> None:
    """Before anything is asked by it."""
    with pytest.raises(ValueError, match=words):
        GcpSourceSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scopes": ("a b",)}, "scopes is a list such as"),
        ({"target_audience": "x"}, 'target_audience: for kind = "id-token" only'),
        ({"secret": "x"}, 'for kind = "secret" only'),
        ({"kind": "id-token"}, "target_audience must name the service"),
        ({"kind": "id-token", "target_audience": "a b"}, "target_audience must name the service"),
        ({"kind": "id-token", "target_audience": "x", "scopes": ("y",)}, 'for kind = "access-token" only'),
        ({"kind": "secret"}, "secret must be the name of a secret"),
        ({"kind": "secret", "secret": "a/b"}, "secret must be the name of a secret"),
        ({"kind": "secret", "secret": "projects/a b/secrets/c"}, "secret: expected the ID of a project"),
        ({"kind": "secret", "secret": "x", "version": 0}, "version counts from 1"),
        ({"kind": "secret", "secret": "x", "location": "a/b"}, "location must be a region"),
        ({"kind": "secret", "secret": "x", "field": "a..b"}, "field must be names joined by dots"),
    ],
)
def test_a_credential_that_makes_no_sense_says_what_was_expected(settings: dict[str, Any], words: str) -> None:
    """Each key belongs to a kind."""
    with pytest.raises(ValueError, match=words):
        GcpSettings(**settings)


def test_a_keys_text_does_not_belong_into_the_config() -> None:
    """The message says where it does."""
    with pytest.raises(ConfigError, match="broker secret set") as caught:
        read(WHOLE.replace('{ keyring = "google/key" }', '"fake-private-key"'))
    assert "fake-private-key" not in str(caught.value)


def test_a_metadata_servers_scopes_are_narrowed_to_the_configs() -> None:
    """As Google's own does: what is not allowed is left out, and what leaves nothing is ignored."""
    both = GcpSettings(scopes=(BIGQUERY, STORAGE))
    assert GCP.derived(both, Wish(scopes=(STORAGE, CLOUD_PLATFORM))) == GcpSettings(scopes=(STORAGE,))
    assert GCP.derived(both, Wish(scopes=(STORAGE, BIGQUERY, CLOUD_PLATFORM))) is both
    assert GCP.derived(both, Wish(scopes=(CLOUD_PLATFORM,))) is both
    assert GCP.derived(both, Wish()) is both


def test_a_metadata_server_gives_id_tokens_for_what_the_config_allows() -> None:
    """Any audience, unless `id_tokens` names them; a credential that is an ID token is for its own."""
    open_, closed = GcpSettings(), GcpSettings(id_tokens=("https://a.example",))
    wish = Wish(target_audience="https://a.example")
    wanted = GcpSettings(kind="id-token", target_audience="https://a.example")
    assert GCP.derived(open_, wish) == GCP.derived(closed, wish) == wanted
    assert GCP.derived(wanted, wish) is wanted
    for settings in (closed, wanted, GcpSettings(id_tokens=())):
        with pytest.raises(Refused, match="add it to `id_tokens`"):
            GCP.derived(settings, Wish(target_audience="https://b.example"))
    with pytest.raises(BadRequest, match="the audience must be printable"):
        GCP.derived(open_, Wish(target_audience="a b"))


def test_a_secret_grants_no_wishes() -> None:
    """It says nothing about who may do what at Google."""
    secret = GcpSettings(kind="secret", secret="claude")
    for wish in (Wish(scopes=(STORAGE,)), Wish(target_audience="x")):
        with pytest.raises(BadRequest):
            GCP.derived(secret, wish)
