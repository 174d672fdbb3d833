"""Where a fetch's credentials come from: a reference of the config's, or what this machine has for every program."""

from __future__ import annotations

from dataclasses import dataclass

from broker.errors import FetchError, LoginRequired
from broker.sources import references
from broker.sources.blocking import Blocking
from broker.sources.gcp import adc, document
from broker.sources.gcp.document import Document
from broker.sources.gcp.person import Person
from broker.sources.gcp.settings import GcpSourceSettings
from broker.sources.interface import Context
from broker.sources.references import Input, Reference


@dataclass(frozen=True, slots=True)
class _Found:
    """A JSON somewhere. `reference` None: the metadata server has what it takes."""

    reference: Reference | None
    where: str


class Origin:
    """Finds and reads the JSON anew for each fetch. Reading never overlaps."""

    def __init__(self, settings: GcpSourceSettings, context: Context, person: Person | None) -> None:
        """Take the `person` who signs in, if one does."""
        self._settings = settings
        self._person = person
        self._context = context
        self._thread = Blocking("gcp")
        self._found: _Found | None = None
        self._input: Input | None = None

    async def document(self) -> Document | None:
        """Return what there is; None where the metadata server is to be asked. Raises `FetchError`s."""
        if self._person is not None:
            return await self._person.document()
        found = await self._thread.run(self._find)
        if found != self._found:
            self._found = found
            self._input = None if found.reference is None else references.bind(found.reference, self._context)
        if self._input is None:
            return None
        secret = await self._input.resolve()
        return document.read(secret.reveal(), found.where, self._settings.universe_domain)

    def changed(self) -> bool:
        """Whether the next fetch would use another JSON. Called off the event loop."""
        if self._person is not None:
            return self._person.changed()
        if self._found is None:
            return False
        try:
            found = self._find()
        except FetchError:
            return False
        return found != self._found or (self._input is not None and self._input.changed())

    def _find(self) -> _Found:
        if self._settings.credentials is not None:
            return _Found(self._settings.credentials, "the JSON that `credentials` of the source names")
        file = adc.file()
        if file is not None:
            return _Found(*file)
        if adc.metadata_is_there():
            return _Found(None, "the metadata server")
        raise LoginRequired(
            "no application default credentials: neither GOOGLE_APPLICATION_CREDENTIALS nor gcloud's file nor a metadata"
            " server of Google's is there; run: gcloud auth application-default login; or set credentials of the source"
        )
