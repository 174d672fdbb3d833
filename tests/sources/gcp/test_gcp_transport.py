"""HTTP below google-auth: what was sent goes to the server that is meant and no other, whatever that one says."""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from broker.errors import TransientFetchError
from broker.sources.gcp.settings import GcpSourceSettings
from broker.sources.gcp.transport import Answer, Request
from tests.fakes.json_server import Answer as Said
from tests.fakes.json_server import Asked, JsonServer


@dataclass
class Elsewhere(JsonServer):
    """Sends whoever asks to another address, with what they sent."""

    def answer(self, asked: Asked) -> Said:
        """Ask for the same thing there."""
        return Said(307, {}, {"Location": f"{self.url}/taken{asked.path}"})


def test_no_redirect_takes_a_refresh_token_along(tmp_path: Path) -> None:
    """By 307 the library would send the whole body again, to whatever host is named."""
    authority, path = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = Elsewhere()
    with server.serving(context), Request(GcpSourceSettings(ca_cert=str(path)), 5.0) as request:
        with pytest.raises(TransientFetchError, match=r"sends us elsewhere \(status 307\), where no secret follows"):
            request(f"{server.url}/token", "POST", json.dumps({"refresh_token": "fake-token-1"}).encode())
        assert [asked.path for asked in server.asked] == ["/token"]


@pytest.mark.parametrize(
    "date",
    [
        "",
        "tomorrow",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 99:00:00 GMT",
    ],
)
def test_a_date_that_is_none_tells_nothing_of_the_clock(date: str) -> None:
    """And is no bug of ours: it only helps to explain a refusal."""
    assert Answer("https://x.example", 400, {"date": date}, b"").ahead_s is None


def test_a_date_tells_how_far_the_clock_is_ahead() -> None:
    """In seconds."""
    ahead_s = Answer("https://x.example", 400, {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"").ahead_s
    assert ahead_s == pytest.approx(time.time(), abs=60)
