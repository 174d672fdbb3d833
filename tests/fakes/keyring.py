"""An operating system's keyring in memory, in the place of the child process that asks a real one."""

from __future__ import annotations

from collections.abc import Sequence

from broker.os_keyring import KeyringTrouble, Request
from broker.secret import Secret


class FakeKeyring:
    """Entries by (service, username); while `trouble` is set it raises that instead."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.trouble: KeyringTrouble | None = None
        self.asked = 0

    def ask(self, requests: Sequence[Request], _timeout_s: float, **_how: bool) -> list[Secret | None]:
        """Stand in for `os_keyring.ask`."""
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        return [self._one(*request) for request in requests]

    def _one(self, verb: str, service: str, username: str, value: str = "") -> Secret | None:
        entry = (service, username)
        if verb == "set" or (verb == "add" and entry not in self.entries):
            self.entries[entry] = value
        found = self.entries.get(entry)
        return None if found is None else Secret(found)
