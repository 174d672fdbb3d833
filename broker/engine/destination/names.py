"""Which variables a project may not set: whole families, since a list of known bad ones is out of date tomorrow.

Names were taken from the package's own text (2.1.197 and 2.1.330) and tried on the real Claude Code
(tests/real/test_destination.py). Stopped are data that steer or expose traffic. Names by which a project only picks
programs (`PATH`, `EDITOR`, `GIT_SSH_COMMAND`) are let through: its hooks run as the user anyway.
"""

from __future__ import annotations

import re
from typing import Final

_FAMILIES: Final = {
    "an Anthropic or Claude Code": r"""
        (?:ANTHROPIC|ANT|CLAUDE|CCR)_.* | CLAUDECODE
        | USE_\w+_OAUTH | (?:ENABLE_)?BETA_TRACING_.* | API_FORCE_.* | SELF_HOSTED_RUNNER_.*
        | SESSION_INGRESS_.* | VOICE_STREAM_.*""",
    "a cloud provider's": r"""
        (?:AWS|AMAZON|BEDROCK|GOOGLE|GCLOUD|GCP|GCE|CLOUDSDK|CLOUD_ML|VERTEX|AZURE|MSI)_.*
        | IDENTITY_(?:ENDPOINT|HEADER|SERVER_THUMBPRINT) | METADATA_SERVER_DETECTION | IMDS_ENDPOINT""",
    "a proxy": r".*PROXY.*",
    "a TLS": r"""
        (?:SSL|TLS|OPENSSL|CURL)_.* | SSLKEYLOGFILE
        | .*(?:CA_?(?:BUNDLE|CERT|FILE|INFO|PATH)|CERT_(?:FILE|DIR|PATH)).*""",
    "a JavaScript runtime's": r"(?:NODE|BUN|JSC|DENO|V8|UV|GRPC)_.*",
    "a loader's or resolver's": r"(?:LD|DYLD)_.* | GLIBC_TUNABLES | GCONV_PATH | HOSTALIASES | LOCALDOMAIN | RES_OPTIONS",
    "a telemetry": r"(?:OTEL|OTLP)_.*",
    "a home folder's": r"HOME | USERPROFILE | APPDATA | XDG_.*",
    "a broker's": r"BROKER_.*",
}
_TITLES: Final = tuple(_FAMILIES)
_INTERCEPTING: Final = frozenset({"a proxy", "a TLS", "a JavaScript runtime's", "a loader's or resolver's"})
_STEERING: Final = re.compile(
    "|".join(f"(?P<f{at}>{names})" for at, names in enumerate(_FAMILIES.values())),
    re.ASCII | re.DOTALL | re.VERBOSE,
)

_HARMLESS: Final = re.compile(
    r"""
    # models
    ANTHROPIC_(?:MODEL|SMALL_FAST_MODEL|DEFAULT_MODEL)
    | ANTHROPIC_(?:DEFAULT_[A-Z]+_MODEL|CUSTOM_MODEL_OPTION)(?:_NAME|_DESCRIPTION|_SUPPORTED_CAPABILITIES)?
    | CLAUDE_CODE_(?:WORKFLOW_)?SUBAGENT_MODEL | CLAUDE_CODE_(?:SUBAGENT_EFFORT|EFFORT_LEVEL)
    # limits
    | CLAUDE_CODE_(?:MAX|FILE_READ_MAX|IDLE_COMPACT_MIN)_(?:[A-Z]+_)?TOKENS
    | CLAUDE_CODE_MAX_(?:RETRIES|TOOL_USE_CONCURRENCY|SUBAGENTS_PER_SESSION|MCP_DESCRIPTION_LENGTH)
    | CLAUDE_CODE_AUTO_COMPACT_WINDOW | CLAUDE_AUTOCOMPACT_PCT_OVERRIDE | CLAUDE_CODE_API_KEY_HELPER_TTL_MS
    # features and looks
    | CLAUDE_CODE_DISABLE_(?:1M_CONTEXT|ADAPTIVE_THINKING|AUTO_MEMORY|BACKGROUND_TASKS|CRON|EXPERIMENTAL_BETAS
        |FAST_MODE|FEEDBACK_SURVEY|FILE_CHECKPOINTING|TERMINAL_TITLE|THINKING|WORKFLOWS)
    | CLAUDE_CODE_ENABLE_(?:AUTO_MODE|AWAY_SUMMARY|FINE_GRAINED_TOOL_STREAMING|PROMPT_SUGGESTION|TASKS)
    | CLAUDE_CODE_(?:EXPERIMENTAL_AGENT_TEAMS|IDE_SKIP_AUTO_INSTALL|USE_POWERSHELL_TOOL|NO_FLICKER|HIDE_CWD)
    | CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR | CLAUDE_AUTO_BACKGROUND_TASKS
    | NODE_ENV
    """,
    re.ASCII | re.VERBOSE,
)
_HARMLESS_VALUES: Final = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": r"1|true",  # off sends the key to Anthropic whatever the base URL
    "CLAUDE_CODE_ENABLE_TELEMETRY": r"0|false",  # on takes the key along, where the user's settings say how
    "AWS_REGION": r"[a-z0-9-]{1,40}",  # more could name another host: x@evil.example/
    "AWS_DEFAULT_REGION": r"[a-z0-9-]{1,40}",
    "AWS_PROFILE": r"[A-Za-z0-9_.-]{1,64}",  # a name in the user's own file
    "NODE_OPTIONS": r"--max[-_]old[-_]space[-_]size=[0-9]{1,7}",
}


_MODEL: Final = re.compile(r"(?:ANTHROPIC|CLAUDE_CODE)_(?:[A-Z]+_)*MODEL(?:_OPTION)?", re.ASCII)
_CLIMBING: Final = re.compile(r"\.\.|[\\%?#]")


def climbs(model: str) -> bool:
    """Whether a model's name would lead out of a base URL's path: on Vertex it stands in the address as it is."""
    return _CLIMBING.search(model) is not None


def family(name: str, text: str | None) -> str | None:
    """Say which kind of steering variable this is that a project sets to `text`; None for the project's own business."""
    if _HARMLESS.fullmatch(name) and not (_MODEL.fullmatch(name) and climbs(text or "")):
        return None
    if name in _HARMLESS_VALUES and text is not None and re.fullmatch(_HARMLESS_VALUES[name], text, re.ASCII):
        return None
    match = _STEERING.fullmatch(name.lstrip("_").upper())  # proxies are read in lower case too
    return None if match is None or match.lastgroup is None else _TITLES[int(match.lastgroup[1:])]


def intercepting(name: str, text: str | None) -> str | None:
    """Say the same of the families by which somebody gets in between, and which Claude Code never sets by itself."""
    title = family(name, text)
    return title if title in _INTERCEPTING else None
