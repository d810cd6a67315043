"""What the service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the histograms' buckets; those of the painter's targets are among them."""


class Metrics:
    """Counters of one service: several in a process (tests, replicas) do not share any."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("spadework_requests", "Requests answered.", ("route", "status"), registry=self.registry)
        self.latency = Histogram(
            "spadework_request_seconds",
            "From the request's headers to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "spadework_stage_seconds",
            "Of a picture: queue, decode, paint, encode.",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.rejections = Counter(
            "spadework_rejections", "Requests refused before any work, by reason.", ("reason",), registry=self.registry
        )
        self.abandoned = Counter(
            "spadework_abandoned", "Pictures whose client was gone before they were done.", registry=self.registry
        )
        self.waiting = Gauge("spadework_queue_length", "Pictures that wait for the generator.", registry=self.registry)
        self.active = Gauge("spadework_active_requests", "Requests that are being answered.", registry=self.registry)
        self.groups = Histogram(
            "spadework_group_size",
            "Pictures of one label map that were synthesized together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )

    def watch_queue(self, name: str, value: float) -> None:
        """As `WorkQueue` tells it."""
        if name == "waiting":
            self.waiting.set(value)
        else:
            self.groups.observe(value)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
