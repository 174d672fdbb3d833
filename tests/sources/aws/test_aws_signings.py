"""How often botocore runs the helper in an hour of signing: it asks anew below fifteen minutes, at every signing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ProcessProvider

from broker.endpoints.aws import process_document, session
from broker.model import Issued, Kind
from broker.secret import Secret
from tests.service.scripted import ScriptedFetcher
from tests.service.virtual_time import in_virtual_time
from tests.service.world import PERSON, World

SIGNINGS = 1000
HOUR_S = 3600.0


class Sessions(ScriptedFetcher):
    """Gives a session of an hour at each fetch."""

    async def fetch(self) -> Issued:
        """Assume the role."""
        token = await super().fetch()
        parts = {name: Secret(f"fake-{name}-{self.calls}") for name in ("access_key_id", "secret_access_key")}
        return Issued(parts | {"session_token": token.parts["token"]}, token.expires_at, Kind.AWS_SESSION)


@dataclass
class Processes:
    """Stands for `subprocess.Popen`: what the helper printed last, and how often it was started."""

    printed: str = ""
    started: int = 0
    returncode: int = 0
    commands: set[str] = field(default_factory=set)

    def __call__(self, argv: list[str], **_options: Any) -> Processes:  # noqa: ANN401  # as Popen
        self.started += 1
        self.commands.add(" ".join(argv))
        return self

    def communicate(self) -> tuple[bytes, bytes]:
        """Give its output."""
        return self.printed.encode(), b""


@in_virtual_time
async def test_a_thousand_signings_in_an_hour_start_four_processes_at_most() -> None:
    """As every SDK's process does that signs by a profile whose `credential_process` is the helper."""
    world = World(names=("work",), fetcher_type=Sessions)
    processes = Processes()
    profile = {"profiles": {"corp": {"credential_process": "broker-helper --aws work"}}}
    credentials: Any = None
    for _ in range(SIGNINGS):
        if credentials is None or credentials.refresh_needed():
            processes.printed = process_document(await session(world.broker, "work", 9, PERSON), world.broker)
        if credentials is None:
            credentials = ProcessProvider("corp", lambda: profile, popen=processes).load()
            credentials._time_fetcher = lambda: datetime.fromtimestamp(world.clock.now().wall, UTC)
        request = AWSRequest("POST", "https://bedrock-runtime.us-east-1.amazonaws.com/model/x/invoke", data=b"{}")
        SigV4Auth(credentials, "bedrock", "us-east-1").add_auth(request)
        assert "Credential=fake-access_key_id-" in request.headers["Authorization"]
        await asyncio.sleep(HOUR_S / SIGNINGS)
    assert processes.commands == {"broker-helper --aws work"}
    assert 1 < processes.started <= 4
    assert world.fetchers[0].calls <= 3
    await world.broker.close()
