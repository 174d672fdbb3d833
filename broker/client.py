"""The command line's client of the control socket (`endpoints/control.py`)."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from broker.connection import Disconnected, NotRunning, Session
from broker.errors import BrokerError, SourceFailed, Unreachable, UnsafePath
from broker.secret import Secret, is_servable
from broker.sign_in import Invitation, Page, SignIn

EVENT_LINE_MAX: Final = 64 * 1024
HEALTHY_WITHIN_S: Final = 1.0
"""A daemon answers `/healthz` from memory in a millisecond: one that takes longer does not serve."""

PATIENT_S: Final = 60.0
"""How long a call may take in which a keyring may ask a person, or a disk is written."""

_SLACK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Token:
    """One answer of `/v1/token`. `expires_in_s` is None for a static key."""

    secret: Secret
    credential: str
    fingerprint: str
    expires_in_s: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: what happened, and the facts beside it."""

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SignInTo:
    """A source that a person signs in to, and how."""

    source: str
    type: str
    way: SignIn

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> SignInTo:
        """Read one of `/v1/logins`."""
        try:
            page = None if answer["page"] is None else Page(**answer["page"])
            return cls(str(answer["name"]), str(answer["type"]), SignIn(page, answer["device"] is True))
        except (KeyError, TypeError) as error:
            raise Unreachable(
                "the daemon's list of sign-ins is none; is it of this version? run: broker restart"
            ) from error


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was begun. `joined`: by somebody else before."""

    invitation: Invitation
    joined: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Begun:
        """Read the answer of `/v1/login`."""
        told = dict(answer)
        joined = told.pop("joined", False) is True
        try:
            return cls(Invitation(**told), joined)
        except TypeError as error:
            raise Unreachable("the daemon's invitation is none; is it of this version? run: broker restart") from error


@dataclass(frozen=True, slots=True)
class Client:
    """Asks the daemon at `socket_path`; every call opens one connection and gives up after `timeout_s`.

    Every method raises `NotRunning` when nobody listens, `Unreachable` when no good answer comes, `UnsafePath`
    when somebody else could be behind the socket, and the error that the daemon answered with.
    """

    socket_path: Path
    timeout_s: float = 5.0

    def token(self, name: str | None = None, *, ttl_s: float = 0.0, deadline_s: float = 30.0) -> Token:
        """Ask for the token of `name`, or of the default credential."""
        query = {"ttl_ms": str(round(ttl_s * 1000)), "deadline_ms": str(round(deadline_s * 1000))}
        if name is not None:
            query["credential"] = name
        headers, body = self._call("GET", f"/v1/token?{urlencode(query)}", timeout_s=deadline_s + _SLACK_S)
        text = body.decode("latin-1")
        if not is_servable(text):
            raise SourceFailed("the daemon answered with something that is no token; look at: broker status")
        return Token(
            secret=Secret(text),
            credential=headers.get("X-Broker-Credential", ""),
            fingerprint=headers.get("X-Broker-Fingerprint", ""),
            expires_in_s=_seconds(headers.get("X-Broker-Expires-In")),
        )

    def credential(self, name: str, *, deadline_s: float = 30.0) -> dict[str, Any]:
        """Ask for every part of `name`. Secrets are in it: show it only to who asked by name."""
        target = f"/v1/credentials/{quote(name, safe='')}?ttl_ms=0&deadline_ms={round(deadline_s * 1000)}"
        return document(self._call("GET", target, timeout_s=deadline_s + _SLACK_S)[1])

    def consumer(self, name: str) -> dict[str, Any]:
        """Ask by which variables a program finds `name` at an endpoint: `set`, `unset`, `lasting`, `problem`."""
        return document(self._call("POST", "/v1/consumers", {"credential": name}, timeout_s=PATIENT_S)[1])

    def subject_token(self, name: str) -> dict[str, Any]:
        """Ask for what an executable source of Google's prints for `name`."""
        return document(self._call("POST", "/v1/subject-token", {"credential": name}, timeout_s=PATIENT_S)[1])

    def status(self) -> dict[str, Any]:
        """Ask how the daemon and its credentials are; never a secret."""
        return document(self.status_text())

    def status_text(self) -> bytes:
        """Return the answer of `status` as it came."""
        return self._call("GET", "/v1/status")[1]

    def refresh(self, name: str | None = None, *, deadline_s: float = 60.0) -> dict[str, Any]:
        """Force one refresh of `name`, or of the default credential; return its status afterwards."""
        asked = {} if name is None else {"credential": name}
        return document(self._call("POST", "/v1/refresh", asked, timeout_s=deadline_s)[1])

    def rejected(self, name: str, fingerprint: str, status: int) -> None:
        """Report that upstream refused this token with this HTTP status."""
        self._call("POST", "/v1/rejected", {"credential": name, "fingerprint": fingerprint, "status": status})

    def lock(self) -> None:
        """Have every secret dropped from the daemon's memory."""
        self._call("POST", "/v1/lock", {}, timeout_s=PATIENT_S)

    def unlock(self, passphrase: Secret | None = None) -> None:
        """Have it serve again; with the passphrase where that is the key."""
        body = {} if passphrase is None else {"passphrase": passphrase.reveal()}
        self._call("POST", "/v1/unlock", body, timeout_s=PATIENT_S)

    def sign_ins(self) -> list[SignInTo]:
        """Ask which sources a person signs in to, and how."""
        sources = document(self._call("GET", "/v1/logins")[1]).get("sources")
        return [SignInTo.of(source) for source in sources] if isinstance(sources, list) else []

    def begin_login(self, source: str, redirect_uri: str | None) -> Begun:
        """Ask where a person signs in to `source`; without a `redirect_uri` by a device code."""
        asked = {"source": source} if redirect_uri is None else {"source": source, "redirect_uri": redirect_uri}
        return Begun.of(document(self._call("POST", "/v1/login", asked, timeout_s=PATIENT_S)[1]))

    def wait_login(self, source: str, state: str, within_s: float) -> bool:
        """Wait until the sign-in has ended; return whether it outlasts the daemon."""
        asked = {"source": source, "state": state}
        answer = self._call("POST", "/v1/login/wait", asked, timeout_s=within_s + PATIENT_S)[1]
        return document(answer).get("kept") is True

    def finish_login(self, source: str, state: str, code: str) -> bool:
        """Hand over what the browser brought back; return whether the sign-in outlasts the daemon."""
        asked = {"source": source, "state": state, "code": code}
        return document(self._call("POST", "/v1/login/finish", asked, timeout_s=PATIENT_S)[1]).get("kept") is True

    def logout(self, source: str) -> bool:
        """Sign out of `source`; return whether anybody was signed in."""
        answer = self._call("POST", "/v1/logout", {"source": source}, timeout_s=PATIENT_S)[1]
        return document(answer).get("signed_out") is True

    def secrets(self) -> list[str]:
        """Ask for the names of what is stored."""
        names = document(self._call("GET", "/v1/secrets")[1]).get("secrets")
        return [str(name) for name in names] if isinstance(names, list) else []

    def put_secret(self, name: str, value: Secret) -> None:
        """Have a secret stored for good."""
        self._call("PUT", f"/v1/secrets/{quote(name, safe='')}", {"value": value.reveal()}, timeout_s=PATIENT_S)

    def delete_secret(self, name: str) -> bool:
        """Have a stored secret removed for good; return whether there was one."""
        answer = self._call("DELETE", f"/v1/secrets/{quote(name, safe='')}", timeout_s=PATIENT_S)[1]
        return document(answer).get("deleted") is True

    def verify_audit(self) -> dict[str, Any]:
        """Have the audit trail checked; return what came of it."""
        return document(self._call("POST", "/v1/audit/verify", {}, timeout_s=PATIENT_S)[1])

    def healthy(self) -> bool:
        """Whether a daemon serves, and answers within a second. Raises `UnsafePath` only."""
        try:
            self._call("GET", "/healthz", timeout_s=min(self.timeout_s, HEALTHY_WITHIN_S))
        except UnsafePath:
            raise
        except BrokerError:
            return False
        return True

    def events(self) -> Iterator[Event]:
        """Yield what happens, as it happens, until the daemon ends the stream (no time-out: life may be quiet)."""
        with self.session() as session:
            answer = session.ask("GET", "/v1/events")
            session.wait_forever()
            yield from _events(answer)

    def session(self) -> Session:
        """Open one connection, for a caller that must know whom it talks to."""
        return Session(self.socket_path, self.timeout_s)

    def _call(
        self, method: str, target: str, body: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        for last_try in (False, True):
            with Session(self.socket_path, timeout_s or self.timeout_s) as session:
                try:
                    answer = session.ask(method, target, body)
                    return dict(answer.headers), session.read(answer)
                except Disconnected:
                    # It was draining: the next daemon answers on the same socket.
                    if last_try:
                        raise
        raise AssertionError  # pragma: no cover  # the loop returns or raises


def document(body: bytes) -> dict[str, Any]:
    """Read an answer that is a JSON object; raise `Unreachable` where it is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreachable("the daemon's answer is not JSON; is it of this version? run: broker restart") from error
    if not isinstance(answer, dict):
        raise Unreachable("the daemon's answer is not a JSON object; is it of this version? run: broker restart")
    return answer


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError as error:
        raise Unreachable("the daemon's X-Broker-Expires-In is no number; run: broker restart") from error


def _events(stream: http.client.HTTPResponse) -> Iterator[Event]:
    """Read the server-sent events format (WHATWG HTML, 9.2.6): `event:` and `data:` lines, ended by a blank one."""
    name, data = "", ""
    try:
        while line := stream.readline(EVENT_LINE_MAX):
            field, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data += value
            elif not field and not value:
                if name:
                    yield Event(name, document((data or "{}").encode()))
                name, data = "", ""
    except (OSError, http.client.HTTPException):
        return


__all__ = ["Client", "Disconnected", "Event", "NotRunning", "Session", "Token", "document"]
