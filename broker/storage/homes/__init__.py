"""Which home the at-rest key has: what the config asks for, or what the file was written with, or what there is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.storage.homes.interface import Home
from broker.storage.homes.keyring import KeyringHome
from broker.storage.homes.passphrase import PassphraseHome
from broker.storage.homes.systemd import SystemdHome

AUTO: Final = "auto"
OFF: Final = "off"


class Homes:
    """The homes for the store in `folder`, of which `persist` (`[daemon]` in the config) chooses."""

    def __init__(
        self, folder: Path, persist: str, keyring_timeout_s: float, env: Mapping[str, str] = os.environ
    ) -> None:
        self._persist = persist
        self._systemd = SystemdHome(env)
        everyone: list[Home] = [KeyringHome(folder, keyring_timeout_s), self._systemd, PassphraseHome()]
        self._by_name = {home.name: home for home in everyone}

    @property
    def is_auto(self) -> bool:
        """Whether we choose, so that having no home is nobody's mistake."""
        return self._persist == AUTO

    @property
    def is_off(self) -> bool:
        """Whether nothing is to be stored."""
        return self._persist == OFF

    def chosen(self, written_with: str | None) -> Home:
        """Return the home to write with; `written_with` is that of the file that is there.

        By itself it never leaves the home of an existing file: a keyring that is away for a moment would cost all
        that is stored.
        """
        if not self.is_auto:
            return self._by_name[self._persist]
        if written_with is not None:
            return self._by_name[written_with]
        return self._systemd if self._systemd.is_there() else self._by_name["keyring"]

    def named(self, name: str) -> Home:
        """Return one home."""
        return self._by_name[name]
