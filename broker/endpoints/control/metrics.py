"""`GET /metrics`: what `status` knows, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

_COUNTERS = {
    "served": "Tokens handed out",
    "refreshes": "Tokens fetched",
    "failures": "Fetches that gave nothing",
    "rejections": "Tokens that upstream refused",
}


class _Credentials(Collector):
    def __init__(self, credentials: list[dict[str, Any]]) -> None:
        self._credentials = credentials

    def collect(self) -> Iterable[Metric]:
        yield self._state()
        yield self._expiry()
        for name, text in _COUNTERS.items():
            family = CounterMetricFamily(f"broker_credential_{name}", text, labels=["credential"])
            for found in self._credentials:
                family.add_metric([found["name"]], found[name])
            yield family

    def _state(self) -> Metric:
        family = GaugeMetricFamily("broker_credential_state", "1 for the present state", labels=["credential", "state"])
        for found in self._credentials:
            family.add_metric([found["name"], found["state"]], 1)
        return family

    def _expiry(self) -> Metric:
        text = "Seconds until the token in hand expires"
        family = GaugeMetricFamily("broker_credential_expires_in_seconds", text, labels=["credential"])
        for found in self._credentials:
            if found["expires_in_s"] is not None:
                family.add_metric([found["name"]], found["expires_in_s"])
        return family


def exposition(credentials: list[dict[str, Any]]) -> tuple[bytes, str]:
    """Write these credentials (as `status` describes them) in Prometheus's text format; and its content type."""
    registry = CollectorRegistry()
    registry.register(_Credentials(credentials))
    return generate_latest(registry), CONTENT_TYPE_LATEST
