"""Where a fetch's credentials come from: a reference of the config's, or what this machine has for every program."""

from __future__ import annotations

from dataclasses import replace

from broker.errors import FetchError, LoginRequired, PermanentFetchError
from broker.secret import Secret
from broker.sources import references
from broker.sources.blocking import Blocking
from broker.sources.gcp import adc, document
from broker.sources.gcp.document import Document, Info
from broker.sources.gcp.person import Person
from broker.sources.gcp.settings import GcpSourceSettings
from broker.sources.interface import Context
from broker.sources.references import Input, Reference

Place = tuple[Reference, str]
"""Where a JSON is, and how to call that in messages."""


class Origin:
    """Finds and reads the JSON anew for each fetch. Reading never overlaps."""

    def __init__(self, settings: GcpSourceSettings, context: Context, person: Person | None) -> None:
        """Take the `person` who signs in, if one does."""
        self._settings = settings
        self._person = person
        self._context = context
        self._thread = Blocking("gcp")
        self._looked = False
        self._place: Place | None = None
        self._inputs: dict[Reference, Input] = {}

    async def document(self) -> Document | None:
        """Return what there is; None where the metadata server is to be asked. Raises `FetchError`s."""
        if self._person is not None:
            return await self._person.document()
        self._place, self._looked = await self._thread.run(self._find), True
        if self._place is None:
            await self._thread.run(_check_metadata)
            self._inputs = {}
            return None
        reference, where = self._place
        read = document.read(await self._text(reference), where, self._settings.universe_domain)
        self._inputs = {reference: self._inputs[reference]}
        return read if read.token_file is None else await self._with_token(read, read.token_file)

    def changed(self) -> bool:
        """Whether the next fetch would use another JSON, or another token of a workload. Called off the event loop."""
        if self._person is not None:
            return self._person.changed()
        try:
            moved = self._looked and self._find() != self._place
        except FetchError:
            return False
        return moved or any(place.changed() for place in tuple(self._inputs.values()))

    def _find(self) -> Place | None:
        if self._settings.credentials is not None:
            return self._settings.credentials, "the JSON that `credentials` of the source names"
        return adc.file()

    async def _text(self, reference: Reference) -> str:
        if reference not in self._inputs:
            self._inputs[reference] = references.bind(reference, self._context)
        return (await self._inputs[reference].resolve()).reveal()

    async def _with_token(self, read: Document, source: Info) -> Document:
        """Read the workload's token by the rules for files: google-auth would hang on a FIFO, for ever."""
        shape = source.get("format")
        field = shape.get("subject_token_field_name") if isinstance(shape, dict) else None
        try:
            # Kubernetes mounts it 0644.
            reference = Reference(file=source["file"], field=field, shared=True)
        except (ValueError, TypeError):
            raise PermanentFetchError(f"{read.where}: credential_source.file must be an absolute path") from None
        return replace(read, subject_token=Secret(await self._text(reference)))


def _check_metadata() -> None:
    if not adc.metadata_is_there():
        raise LoginRequired(
            "no application default credentials: neither GOOGLE_APPLICATION_CREDENTIALS nor gcloud's file nor a metadata"
            " server of Google's is there; run: gcloud auth application-default login; or set credentials of the source"
        )
