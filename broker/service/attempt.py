"""One attempt at a source: within its time-out, and whatever goes wrong in the words of the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from broker.engine.vocabulary import Failure, Trouble
from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.secret import Secret, scrub
from broker.sources.interface import Fetcher

log = logging.getLogger(__name__)


async def attempt(fetcher: Fetcher, name: str, known: Iterable[Secret]) -> Issued | Failure:
    """Ask the source of credential `name` once; `known` secrets are kept out of what it says of its failure."""
    try:
        async with asyncio.timeout(fetcher.timeout_s):
            return await fetcher.fetch()
    except TimeoutError:
        return Failure(Trouble.TRANSIENT, f"the source did not answer within {fetcher.timeout_s:g}s")
    except FetchError as error:
        return _failure(error, scrub(str(error), known).replace("\n", " "))
    except Exception as error:  # noqa: BLE001  # a source's bug must not leave the credential "refreshing" for ever
        log.error("%s: the source has a bug: %s", name, type(error).__name__)  # noqa: TRY400  # a traceback may show a secret
        return Failure(Trouble.TRANSIENT, f"the source has a bug ({type(error).__name__}); please report it")


def _failure(error: FetchError, message: str) -> Failure:
    if isinstance(error, LoginRequired):
        return Failure(Trouble.LOGIN, message)
    if isinstance(error, PermanentFetchError):
        return Failure(Trouble.PERMANENT, message)
    retry_after_s = error.retry_after_s if isinstance(error, TransientFetchError) else None
    return Failure(Trouble.TRANSIENT, message, retry_after_s or 0.0)
