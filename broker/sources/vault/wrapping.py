"""A response-wrapped secret_id: opened once, and kept for every sign-in after that, also by later runs."""

from __future__ import annotations

import json
from typing import Final

from broker.errors import PermanentFetchError
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.interface import LoginRecord
from broker.sources.vault.auth import AppRole
from broker.sources.vault.connection import Client, Connection

_SECRET_ID: Final = "secret_id"  # noqa: S105  # a key's name


class Wrapping:
    """What a source's wrapping token held. `record` keeps it, where anything can be kept."""

    def __init__(self, connection: Connection, auth: AppRole, creation_path: str, record: LoginRecord) -> None:
        self._connection = connection
        self._auth = auth
        self._creation_path = creation_path
        self._record = record
        self._opened: tuple[Secret, Secret] | None = None

    async def open(self, thread: Blocking, token: Secret) -> Secret:
        """Return the secret_id that was wrapped in `token`.

        Raises `PermanentFetchError`, and `TransientFetchError`: also while what is kept is locked, as nobody can tell
        then whether it was opened by us.
        """
        if self._opened is None or self._opened[0] != token:
            self._opened = token, self._kept(token) or await self._unwrapped(thread, token)
        return self._opened[1]

    async def refused(self) -> None:
        """Keep no secret_id that the server does not take. Raises `TransientFetchError`."""
        await self._record.delete()

    def forget(self) -> None:
        """Drop it from memory."""
        self._opened = None

    async def _unwrapped(self, thread: Blocking, token: Secret) -> Secret:
        secret_id = await self._connection.run(
            thread, lambda client: unwrapped(client, token, self._creation_path), token, "unwrap the secret_id"
        )
        # At once: nobody can unwrap it again.
        await self._record.put(Secret(json.dumps({**self._place(token), _SECRET_ID: secret_id.reveal()})))
        return secret_id

    def _kept(self, token: Secret) -> Secret | None:
        record = self._record.get()
        try:
            kept = None if record is None else json.loads(record.reveal())
        except ValueError:
            return None
        if not isinstance(kept, dict):
            return None
        secret_id = kept.pop(_SECRET_ID, None)
        return Secret(secret_id) if isinstance(secret_id, str) and kept == self._place(token) else None

    def _place(self, token: Secret) -> dict[str, str | None]:
        """What it came from, and where it is good: another `address` must not have it sent to another server."""
        settings = self._connection.settings
        return {
            "address": settings.server,
            "namespace": settings.namespace,
            "role_id": self._auth.role_id,
            "made_by": self._creation_path,
            "wrapped_in": token.reveal(),
        }


def unwrapped(client: Client, token: Secret, creation_path: str) -> Secret:
    """Unwrap a secret_id (blocking), if the wrapping was made where it should have been; `client` carries its token.

    Raises `PermanentFetchError`, and what hvac raises.
    """
    from hvac import exceptions  # noqa: PLC0415  # late: only who uses Vault pays for hvac

    try:
        found = client.adapter.post("/v1/sys/wrapping/lookup", json={"token": token.reveal()})
        made_at = found["data"]["creation_path"]
        if made_at != creation_path:
            # Who swaps the token for one of their own has us sign in as theirs; it is left unopened, as evidence.
            raise PermanentFetchError(
                f"the wrapped secret_id was not made by {creation_path}: it may have been swapped; ask for a new one"
            )
        return Secret(str(client.sys.unwrap()["data"]["secret_id"]))
    except (exceptions.InvalidRequest, exceptions.Forbidden):
        raise PermanentFetchError(
            "the wrapped secret_id is expired, or was unwrapped already: if not by an earlier run of this broker,"
            " somebody else has read it; tell the administrator, and ask for a new one"
        ) from None
