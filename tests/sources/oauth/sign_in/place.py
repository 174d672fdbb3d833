"""An `oauth` source that a person signs in to, at the fake provider.

The courier (broker/sources/oauth/courier.py) works in this process here; tests/real/test_oauth.py has a real one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from broker.sources.oauth import courier
from broker.sources.web.server import Server
from tests.fakes.oauth import FakeProvider
from tests.sources.oauth.place import Place

BACK = "http://127.0.0.1:8250/"
COMMAND = "run: broker login corp"


class Killed(BaseException):
    """The process ends here."""


class Courier:
    """Stands in for the child process: does the job at once, in this thread, holding the file as the child would."""

    dies_before: bool = False
    dies_after: bool = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)

    def communicate(self, job: bytes, _timeout_s: float) -> None:
        """Work."""
        try:
            if self.dies_before:
                return
            if self.dies_after:
                parsed = json.loads(job)
                os.write(self._descriptor, f"{parsed['mark']}\n".encode())
                courier.ask(Server(**parsed["server"]), parsed["request"])
                return
            courier.work(json.loads(job), self._descriptor)
        finally:
            os.close(self._descriptor)


class Account(Place):
    """One that is signed in to by a device code if nothing else is said."""

    def __init__(self, idp: FakeProvider, **settings: Any) -> None:  # noqa: ANN401  # any setting
        super().__init__(idp, **{"flow": "device", "client_id": "me", "issuer": idp.address, **settings})

    async def sign_in(self) -> bool:
        """Do it by a device code."""
        invitation = await self.source.begin_login(None)
        return await self.source.finish_login(invitation.state, None)

    @property
    def kept(self) -> dict[str, Any]:
        """What is stored."""
        assert self.context.login.record is not None
        found: dict[str, Any] = json.loads(self.context.login.record.reveal())
        return found


def files(state: Path) -> list[bytes]:
    """Read what lies in the state folder."""
    return [path.read_bytes() for path in state.glob("*")]
