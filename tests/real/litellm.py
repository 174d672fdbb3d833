"""A real LiteLLM proxy before a local upstream. Which keys are good it asks the test's store (tests/fakes/litellm.py)."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fakes.litellm import MASTER_KEY, FakeLiteLLM, fake_litellm
from tests.real.ports import free_port
from tests.real.process import terminate, wait_until
from tests.setup_tools import program

_AUTH: Final = Path(__file__).with_name("litellm_auth.py")
_CONFIG: Final = {
    "general_settings": {"master_key": MASTER_KEY, "custom_auth": "litellm_auth.check"},
    # Of its three forms that of Bedrock alone wants to know its models.
    "model_list": [{"model_name": "us.anthropic.*", "litellm_params": {"model": "bedrock/us.anthropic.*"}}],
}
_BOOT_S: Final = 180.0
"""It loads some hundred megabytes: 8 s on an idle machine, and a minute on a busy one."""


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """The running proxy, and the store of its keys."""

    url: str
    keys: FakeLiteLLM
    process: subprocess.Popen[str]


def available() -> bool:
    """Whether LiteLLM is installed."""
    return program("litellm").exists()


@contextmanager
def litellm(folder: Path, env: Mapping[str, str]) -> Iterator[LiteLLM]:
    """Run it in `folder` until the block ends; `env` says where its upstreams are and how it signs in there."""
    port = free_port()
    shutil.copy(_AUTH, folder)
    config = folder / "litellm.yaml"  # JSON is YAML
    config.write_text(json.dumps(_CONFIG))
    with fake_litellm() as keys, (folder / "litellm.log").open("w") as log:
        own = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "KEY_STORE": keys.url,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it looks for a newer one on the network
        }
        process = subprocess.Popen(
            [str(program("litellm")), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
            env=own | dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        made = LiteLLM(f"http://127.0.0.1:{port}", keys, process)
        try:
            wait_until(lambda: _is_up(made), "LiteLLM serves", deadline_s=_BOOT_S)
            yield made
        finally:
            terminate(process)


def _is_up(proxy: LiteLLM) -> bool:
    assert proxy.process.poll() is None, "LiteLLM left"
    try:
        with urllib.request.urlopen(f"{proxy.url}/health/liveliness", timeout=5) as answer:  # noqa: S310  # the loopback
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
