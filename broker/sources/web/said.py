"""What a server said of its refusal, fit to be shown: words, numbers, and what we had sent it that is no secret."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from broker.secret import Secret
from broker.sources.complaint import last_line

_PIECE: Final = re.compile(r"[^\s\"'`=,;:()\[\]{}<>]+")
_WORD: Final = re.compile(r"[A-Za-z._/*!?%$&|-]{1,40}|[0-9]{1,9}(?:\.[0-9]{0,6})?\.?", re.ASCII)


def shown(text: str, sent: Iterable[Secret], known: Collection[str] = ()) -> str:
    """Give one short line of it: without what was `sent`, and without what may be a secret of somebody's else.

    A server may quote any key that it was configured with; `known` words of our own need no hiding.
    """
    line = last_line(" ".join(text.split()).encode(), b"", [secret.reveal() for secret in sent])
    return _PIECE.sub(lambda piece: piece[0] if _WORD.fullmatch(piece[0]) or piece[0] in known else "***", line)
