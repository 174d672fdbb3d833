"""The face for Google's client libraries (`[endpoints.gcp]`): a metadata server, and an exchange for executable sources."""

from broker.endpoints.gcp.metadata import MetadataServer

__all__ = ["MetadataServer"]
