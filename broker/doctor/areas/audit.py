"""The audit trail: whether the daemon can write it, and whether somebody changed it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from broker.doctor.finding import Finding, error, fine, parted, warning
from broker.doctor.scene import Scene
from broker.errors import BrokerError, UnsafePath
from broker.storage.audit import files

_WHY: Final = "it is what tells who was given what, when something went wrong"
_VERIFY: Final = "see what: broker audit --verify"


def check(scene: Scene) -> list[Finding]:
    """Have the daemon verify the trail: only it holds the key; without one look whether the files can be read."""
    found = [*_warnings(scene)]
    if scene.status is not None:
        return found or [_verified(scene)]
    return found or [*_unreadable(scene)] or [fine("audit", "can be read; to have it verified start the daemon")]


def _warnings(scene: Scene) -> Iterator[Finding]:
    for code, message in scene.daemon_warnings("audit-"):
        what, mend = parted(message, "broker audit")
        yield warning(code, what, _WHY, mend)


def _verified(scene: Scene) -> Finding:
    try:
        answer: dict[str, Any] = scene.client.verify_audit()
    except BrokerError as problem:
        what, mend = parted(str(problem), "broker audit --verify")
        return warning("audit-unverified", f"the audit trail cannot be verified: {what}", _WHY, mend)
    lines, findings = answer.get("lines"), answer.get("findings")
    if not isinstance(lines, int) or not isinstance(findings, list):
        what = "the daemon's word on the audit trail is not of this version"
        return warning("audit-unverified", what, _WHY, "broker restart")
    if findings:
        what = f"the audit trail is not as the daemon wrote it: {findings[0]}"
        return error("audit-altered", what, "somebody changed, moved or cut lines of it", _VERIFY)
    return fine("audit", f"{lines:,} line{'' if lines == 1 else 's'}, no sign that any was changed")


def _unreadable(scene: Scene) -> Iterator[Finding]:
    try:
        for path in files.present(scene.places.state):
            files.read(path)
    except UnsafePath as problem:
        what, mend = parted(str(problem), "broker audit --verify")
        yield error("audit-unreadable", what, _WHY, mend)
    except OSError as problem:
        what = f"{problem.filename}: {problem.strerror}"
        yield error("audit-unreadable", what, _WHY, f"chmod u+rw {problem.filename}")
