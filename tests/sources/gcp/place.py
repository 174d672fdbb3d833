"""A `gcp` source at the fake Google, for the tests of one."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.secret import Secret
from broker.sources.gcp.places import Apis
from broker.sources.gcp.settings import GcpSettings, GcpSourceSettings
from broker.sources.gcp.source import GcpFetcher, GcpSource
from broker.sources.references import Reference
from tests.fakes.context import FakeContext
from tests.fakes.google import FakeGoogle

KEY = "google-key"


class Place:
    """A source whose credentials' JSON is a stored secret, and its fetchers."""

    def __init__(self, google: FakeGoogle, document: Mapping[str, Any] | None = None, **settings: Any) -> None:  # noqa: ANN401  # any setting
        self.google = google
        self.context: FakeContext = settings.pop("context", None) or FakeContext()
        self.write(google.service_account() if document is None else document)
        if "sign_in" not in settings:
            settings.setdefault("credentials", Reference(local=KEY))
        self.settings = GcpSourceSettings(api_endpoints=Apis(**google.apis()), **settings)
        self.source = GcpSource(self.settings, self.context)

    def write(self, document: Mapping[str, Any]) -> None:
        """Store another JSON."""
        self.context.secrets.records[KEY] = Secret(json.dumps(document))

    def fetcher(self, **settings: Any) -> GcpFetcher:  # noqa: ANN401  # any setting
        """Bind one credential."""
        made = self.source.fetcher(GcpSettings(**settings), "work")
        assert isinstance(made, GcpFetcher)
        return made


def program(path: Path, text: str) -> str:
    """Write an executable source's program in Python, and return its command line."""
    path.write_text(f"#!{sys.executable} -I\n{text}")
    path.chmod(0o700)
    return shlex.quote(str(path))
