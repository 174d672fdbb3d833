"""Answers of limited size: botocore reads whatever comes to its end, and parses it in one go.

Loads botocore: import it from a thread, at the first call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as TimedOut

from broker.errors import TransientFetchError

ANSWER_MAX: Final = 1024 * 1024
"""Far more than any answer that we ask for: a secret of Secrets Manager's has at most 64 KiB."""

Library = Any
"""botocore has no types."""


class BoundedSession:
    """Stands before the HTTP session of a client of botocore's."""

    def __init__(self, session: Library) -> None:
        self._session = session

    def send(self, request: Library) -> Library:
        """Send it and read the answer.

        A server, or whoever answers in its place, that sends without end would take all memory, and with it every
        credential of the daemon's. Raises what botocore's own does, and `TransientFetchError`.
        """
        request.stream_output = True  # botocore leaves the reading to us
        answer = self._session.send(request)
        try:
            content = b"".join(_pieces(answer.raw, request.url))
        except TimedOut as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
        except HTTPError as error:
            raise ConnectionClosedError(endpoint_url=request.url, request=request, error=error) from error
        return AWSResponse(answer.url, answer.status_code, answer.headers, _Read(content))

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


class _Read:
    """What was read, for `AWSResponse.content`."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


def _pieces(raw: Library, url: str) -> Iterator[bytes]:
    size = 0
    for piece in raw.stream():
        size += len(piece)
        if size > ANSWER_MAX:
            raw.close()
            where = url.partition("?")[0].rstrip("/")
            raise TransientFetchError(
                f"{where}: its answer has more than {ANSWER_MAX // 1024 // 1024} MiB; check `endpoint_url` of the source"
            )
        yield piece
