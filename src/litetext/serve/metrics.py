"""What a server tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "litetext_requests", "Requests by route and status.", ("route", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "litetext_request_seconds", "Seconds of a request.", ("route",), registry=self._registry, buckets=_SECONDS
        )
        self.batch = Histogram(
            "litetext_batch_size", "Requests answered together.", registry=self._registry, buckets=(1, 2, 4, 8, 16, 32)
        )
        self.working = Gauge("litetext_working", "Requests that are worked on.", registry=self._registry)
        self.images = Counter(
            "litetext_images",
            "Images, by whether their features were kept.",
            ("cached",),
            registry=self._registry,
        )

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Show a number that is read when it is asked for."""
        Gauge(name, help, registry=self._registry).set_function(value)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return bytes(generate_latest(self._registry))
