"""The verdict: may this token go to this Claude Code?"""

from __future__ import annotations

from collections.abc import Sequence

from broker.engine.destination.known import Allowed, Known, Pins, Refused, Verdict

_ = Allowed


def judge(known: Known, audience: Sequence[str], allowed: Pins) -> Verdict:
    """Say whether a token of a credential with this audience may be handed to this Claude Code, or why not.

    `audience` are base URLs as `broker.audience` reads them; for a credential that names none give
    `broker.audience.default(kind)`. A file in `allowed` may say what it likes, except where requests go in the end:
    that must lie within the audience whoever set it, since only the config says for whom a credential is meant.
    """
    return Refused("", "", "the audience guard is not built yet")  # being written: refuses everything
