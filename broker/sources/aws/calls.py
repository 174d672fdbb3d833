"""Calls to AWS, with errors in our words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from broker.secret import Secret
from broker.sources.aws import sts
from broker.sources.aws.sdk import Library, Sdk
from broker.sources.aws.session import Session
from broker.sources.aws.settings import Role
from broker.sources.blocking import Blocking

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Doing:
    """`what` names it in messages; `role` where it is to be assumed; `sent` is a secret that AWS may quote."""

    what: str
    role: Role | None = None
    by_token: bool = False
    sent: tuple[Secret, ...] = ()


class Calls:
    """One source's calls. Every method raises `TransientFetchError`, `PermanentFetchError` or `LoginRequired`.

    `sign_in`: what a person runs to sign in to the source, for messages.
    """

    def __init__(self, sdk: Sdk, sign_in: str) -> None:
        self.sdk = sdk
        self._sign_in = sign_in

    async def run(
        self,
        thread: Blocking,
        call: Callable[[Library], T],
        keys: Session | None,
        doing: Doing,
        *,
        service: str = "sts",
        region: str | None = None,
    ) -> T:
        """Run `call` in `thread` with a client of `service` that signs with `keys`, or not at all."""
        return await thread.run(lambda: self._asked(call, keys, doing, service, region))

    def _asked(
        self, call: Callable[[Library], T], keys: Session | None, doing: Doing, service: str, region: str | None
    ) -> T:
        client = self.worded(lambda: self.sdk.client(service, keys, region), doing, keys)
        return self.worded(lambda: call(client), doing, keys, asking=True)

    def worded(self, call: Callable[[], T], doing: Doing, keys: Session | None = None, *, asking: bool = False) -> T:
        """Run `call` in this thread; `asking`: it does nothing but ask AWS, so that what fails is the answer."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # whatever botocore raises
            from broker.sources.aws.errors import Call, translated  # noqa: PLC0415  # late: it loads botocore

            sent = (*doing.sent, *(keys.secrets if keys is not None else ()))
            tried = Call(
                doing.what,
                self.sdk.settings,
                self.sdk.skew,
                doing.role,
                doing.by_token,
                sent,
                lambda: self._who(keys),
                self._sign_in,
                asking,
            )
            raise translated(error, tried) from None

    def _who(self, keys: Session | None) -> str:
        """Name whose keys these are, best effort: what was denied does not always say."""
        if keys is None or keys.details.get("arn"):
            return "" if keys is None else keys.details["arn"]
        try:
            return sts.identify(self.sdk.client("sts", keys)).get("arn", "")
        except Exception:  # noqa: BLE001  # the message is about something else
            return ""
