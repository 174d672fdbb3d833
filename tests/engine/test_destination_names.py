"""Which variables a project may set by itself."""

from __future__ import annotations

import time
from typing import Final

import pytest

from broker.engine.destination.names import family, intercepting

STEERING: Final = """
ANTHROPIC_BASE_URL ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_CUSTOM_HEADERS ANTHROPIC_UNIX_SOCKET
ANTHROPIC_FUTURE_THING anthropic_base_url _CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL CLAUDE_CODE_USE_BEDROCK
CLAUDE_CODE_SKIP_VERTEX_AUTH CLAUDE_CONFIG_DIR CLAUDECODE CLAUDE_CODE_OAUTH_TOKEN CLAUDE_CODE_MANAGED_SETTINGS_PATH
CLAUDE_CODE_CLIENT_CERT CCR_AGENT_PROXY_ENABLED AGENT_PROXY_URL USE_LOCAL_OAUTH BETA_TRACING_ENDPOINT
AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_BEARER_TOKEN_BEDROCK AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CA_BUNDLE
GOOGLE_APPLICATION_CREDENTIALS GCE_METADATA_HOST CLOUDSDK_CONFIG GCLOUD_PROJECT CLOUD_ML_REGION
VERTEX_REGION_CLAUDE_5_OPUS AZURE_TENANT_ID IDENTITY_ENDPOINT
HTTP_PROXY https_proxy All_Proxy NO_PROXY NPM_CONFIG_HTTPS_PROXY npm_config_proxy GLOBAL_AGENT_HTTP_PROXY
NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED SSL_CERT_FILE SSLKEYLOGFILE OPENSSL_CONF REQUESTS_CA_BUNDLE
CURL_CA_BUNDLE PIP_CERT_FILE npm_config_cafile
NODE_OPTIONS NODE_PATH BUN_OPTIONS BUN_CONFIG_VERBOSE_FETCH GRPC_DEFAULT_SSL_ROOTS_FILE_PATH
LD_PRELOAD LD_LIBRARY_PATH DYLD_INSERT_LIBRARIES GLIBC_TUNABLES HOSTALIASES RES_OPTIONS
OTEL_EXPORTER_OTLP_ENDPOINT OTEL_LOG_RAW_API_BODIES
HOME XDG_CONFIG_HOME XDG_RUNTIME_DIR
BROKER_SOCKET BROKER_CONFIG BROKER_CREDENTIAL
"""

HARMLESS: Final = """
DATABASE_URL FOO PATH EDITOR GIT_SSH_COMMAND DJANGO_SETTINGS_MODULE API_KEY API_BASE_URL GITHUB_TOKEN PYTHONPATH
BASH_DEFAULT_TIMEOUT_MS MAX_THINKING_TOKENS MCP_TIMEOUT DISABLE_TELEMETRY NEWSPAPER_HOME CLAUDIA HOMEPAGE
ANTHROPIC_MODEL ANTHROPIC_SMALL_FAST_MODEL ANTHROPIC_DEFAULT_OPUS_MODEL ANTHROPIC_DEFAULT_OPUS_MODEL_NAME
CLAUDE_CODE_SUBAGENT_MODEL CLAUDE_CODE_MAX_OUTPUT_TOKENS CLAUDE_CODE_API_KEY_HELPER_TTL_MS
CLAUDE_CODE_DISABLE_TERMINAL_TITLE CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR NODE_ENV
"""


@pytest.mark.parametrize(
    "name",
    STEERING.split(),
)
def test_what_steers_or_exposes_traffic_is_not_a_projects_business(name: str) -> None:
    """Whole families are refused, also members that nobody has heard of yet."""
    assert family(name, "x") is not None


@pytest.mark.parametrize(
    "name",
    HARMLESS.split(),
)
def test_a_projects_own_variables_change_nothing(name: str) -> None:
    """Neither its own names nor the harmless members of the families, model names and limits, are touched."""
    assert family(name, "x") is None


@pytest.mark.parametrize(
    ("name", "harmless", "steering"),
    [
        ("AWS_REGION", "eu-west-1", "x@evil.example/"),
        ("AWS_DEFAULT_REGION", "us-gov-west-1", "evil.example#"),
        ("AWS_PROFILE", "work.dev", "a b"),
        ("NODE_OPTIONS", "--max-old-space-size=8192", "--max-old-space-size=8192 --require=./x.js"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1", "0"),
        ("CLAUDE_CODE_ENABLE_TELEMETRY", "0", "1"),
        ("CLAUDE_CODE_ENABLE_TELEMETRY", "false", "no, thanks"),
    ],
)
def test_some_are_harmless_by_their_value(name: str, harmless: str, steering: str) -> None:
    """What teams set for good reasons passes, if its value can do nothing else."""
    assert family(name, harmless) is None
    assert family(name, steering) is not None
    assert family(name, None) is not None
    assert family(name, f"{harmless}\n") is not None


def test_whoever_stands_in_between_is_told_from_whoever_redirects() -> None:
    """Proxies, certificates, runtimes and loaders are what a session may keep of a file that is gone."""
    assert intercepting("HTTPS_PROXY", "http://evil.example") == "a proxy"
    assert intercepting("NODE_EXTRA_CA_CERTS", "/x") is not None
    assert intercepting("ANTHROPIC_BASE_URL", "http://evil.example") is None
    assert intercepting("FOO", "x") is None


@pytest.mark.parametrize("part", ["_", "CA", "CERT_", "PROX", "USE_", "ANTHROPIC_DEFAULT_", "CLAUDE_CODE_MAX_"])
def test_a_name_as_long_as_a_file_takes_no_time(part: str) -> None:
    """A hostile file cannot hold up the daemon by a name that makes the rules go back and forth."""
    start = time.process_time()
    family(part * (1_000_000 // len(part)), "x")
    assert time.process_time() - start < 1
