"""The audience guard: hands a token only to a Claude Code that will send it where it is meant to go.

A cloned repository can steer Claude Code by its settings, and the token goes with the requests (measured on 2.1.197 and
2.1.330). What helper, kernel and files say comes together here; `engine/policy.py` judges it.
"""

from __future__ import annotations

import logging
from typing import Final

from broker.clock import Clock
from broker.engine import policy
from broker.engine.destination import Refused as RefusedVerdict
from broker.engine.destination import Verdict
from broker.engine.policy import Shown, Surroundings, Told
from broker.errors import Refused
from broker.integrations.project import own_home
from broker.model import Kind
from broker.platform.interface import Platform
from broker.service.ancestors import Lineage
from broker.service.claude_settings import Settings

log = logging.getLogger(__name__)

REMEMBERED_S: Final = 600.0
"""A refusal is a warning in the status for so long: Claude Code hides what its helper says."""

GONE: Final = "the caller is not the process that asked any more"


class Guard:
    """Judges every ask of every face."""

    def __init__(self, platform: Platform, settings: Settings, clock: Clock, home: str | None = None) -> None:
        self._platform = platform
        self._settings = settings
        self._clock = clock
        self._home = home if home is not None else own_home()
        self._refused: tuple[float, str] | None = None

    @property
    def refusal(self) -> str | None:
        """What was refused last, if that was not long ago."""
        if self._refused is None or self._clock.now().mono - self._refused[0] > REMEMBERED_S:
            return None
        return self._refused[1]

    async def check(
        self, lineage: Lineage, told: Told | None, audience: tuple[str, ...], kind: Kind, *, as_key: bool = True
    ) -> None:
        """Let pass, or raise `Refused`.

        `as_key`: see `policy.verdict`. `told` is None for a caller that is no helper. Such a one is a person's (`broker token`, curl) unless there is a
        Claude Code above it: then the token is as good as that one's.
        """
        try:
            await self._check(lineage, told, audience, kind, as_key=as_key)
        except Refused as refused:
            if str(refused) != self.refusal:  # once: a caller that repeats itself must not fill the log
                log.warning("refused: %s", refused)
            self._refused = (self._clock.now().mono, str(refused))
            raise

    async def passes(self, lineage: Lineage, told: Told | None, audience: tuple[str, ...], kind: Kind) -> bool:
        """Whether `check` would let it pass as a key: for who has another one to give, so that nothing is refused."""
        try:
            await self._check(lineage, told, audience, kind, as_key=True)
        except Refused:
            return False
        return True

    async def exports(self, lineage: Lineage, told: Told | None) -> frozenset[str]:
        """Return what the settings that hold for the caller name as `awsCredentialExport`."""
        try:
            looked = await self._settings.look(self._surroundings(lineage, told).place)
        except Refused:  # `check` says so
            return frozenset()
        named = (file.settings.get("awsCredentialExport") for file in looked.found.files if file.settings is not None)
        return frozenset(command for command in named if isinstance(command, str))

    async def _check(
        self, lineage: Lineage, told: Told | None, audience: tuple[str, ...], kind: Kind, *, as_key: bool
    ) -> None:
        if told is None and lineage.claude is None:
            return
        around = self._surroundings(lineage, told)
        looked = await self._settings.look(around.place)
        if looked.trouble is not None:
            raise Refused(looked.trouble)
        _raise(policy.verdict(around, looked.found, audience, kind, as_key=as_key))
        # Last of all: were the pid handed on to another process meanwhile, a stranger was judged.
        if lineage.chain and not lineage.same():
            raise Refused(GONE)

    def _surroundings(self, lineage: Lineage, told: Told | None) -> Surroundings:
        caller = claude = None
        if lineage.chain:
            pid = lineage.chain[0].pid
            apart = lineage.claude is None and self._platform.apart(pid)
            # Without its pid where that does not matter: a session's helpers, a process each, are then all the same.
            caller = Shown(pid if apart else 0, self._platform.folder(pid), lineage.environment, apart=apart)
        if lineage.claude is not None:
            claude = self._shown(lineage.claude.pid)
        return policy.surroundings(told, caller, claude, self._home)

    def _shown(self, pid: int) -> Shown:
        system = self._platform
        arguments = tuple(system.arguments(pid))
        return Shown(pid, system.folder(pid), system.environment(pid), arguments, system.apart(pid))


def _raise(verdict: Verdict) -> None:
    if isinstance(verdict, RefusedVerdict):
        raise Refused(verdict.reason)
