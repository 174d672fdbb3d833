"""Fuzz target: files of other tools, as `broker import` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.config import edit, parse
from broker.errors import ConfigError
from broker.integrations.importing import READERS
from broker.integrations.importing import plan as plans
from broker.integrations.importing.found import Reading
from broker.sources import TYPES
from tests.fuzz.target import one_line, pure

PLANTED: Final = "sk-fake-planted-secret-7c1d"
"""It looks like a key: what does not, in the place of a name, is taken for one and shown."""
NOWHERE: Final = Path("/nowhere/config.toml")

FILES: Final = (
    f"providers:\n- name: a\n  type: claude-custom\n  api_key: {PLANTED}\n  base_url: https://p.example/v1\n".encode(),
    f"b: {{type: claude-custom, aws_region: us-east-1, aws_access_key: AKIAFAKEFAKEFAKE0001,\n"
    f" aws_secret_key: '{PLANTED}', model_id: 'm:0', headers: {{X-A: {PLANTED}}}, timeout: {{request: 3m}}}}\n".encode(),
    f"# {PLANTED}\nclaude-custom: {{api_version: 2024-01-01}}\nc: &x {{api_key: {PLANTED}}}\nd: *x\n".encode(),
    f"export ANTHROPIC_API_KEY='{PLANTED}' # x\nANTHROPIC_BASE_URL=https://l.example/anthropic\n".encode(),
    f"AWS_ACCESS_KEY_ID=AKIAFAKEFAKEFAKE0001\nAWS_SECRET_ACCESS_KEY={PLANTED}\nAWS_REGION=us-east-1\n".encode(),
    f"LITELLM_MASTER_KEY={PLANTED}\nLITELLM_BASE_URL=http://l.example:4000\nA=${{B}}\n".encode(),
    f"[default]\naws_access_key_id = AKIAFAKEFAKEFAKE0001\naws_secret_access_key = {PLANTED}\nregion = r\n".encode(),
    b"[profile r]\nrole_arn = arn:aws:iam::111111111111:role/one\nsource_profile = s\nexternal_id = x\n[profile s]\n",
)
PIECES: Final = (b"*x", b"&x", b"<<: ", b"\n- ", b"${", b"$(", b"\\", b'"', b"'", b"source_profile = r\n", b"!!", b"\t")


def check_import(content: bytes) -> None:
    """Refused in a line, or made a config that the daemon takes, in which no value of a secret's place stands."""
    text = content.decode(errors="ignore")
    for reading in _readings(text):
        plan = plans.make(reading, NOWHERE, TYPES, (), force=True)
        for line in plan.says + plan.remarks + plan.notes:
            assert PLANTED not in line
        if not plan.changes_nothing:
            config = parse(plan.after, NOWHERE, TYPES, {})
            assert set(config.credentials) == set(plan.tables["credentials"])
            assert "\n".join(edit.lines_of(plan.tables)) in plan.after
            for secret in plan.secrets.values():
                kept = secret.reveal()
                assert PLANTED not in kept or kept not in plan.after


def _readings(text: str) -> Iterator[Reading]:
    for read in READERS.values():
        try:
            yield read(text, Path("/theirs"))
        except ConfigError as error:
            for problem in error.problems:
                one_line(problem, PLANTED)


IMPORT: Final = pure(
    "import",
    "refused in a line, or a config without a secret in it that the daemon takes",
    FILES,
    check_import,
    800,
    odd=PIECES,
)
