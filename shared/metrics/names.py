"""Every metric of our own, defined once; Metrics makes them in a registry that is handed in.

A process may run several components (a simulator runs a hundred sites), so nothing here is
registered globally.
"""

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name (with its unit), meaning and labels; buckets are for histograms."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = Histogram.DEFAULT_BUCKETS


# 5 ms to 10 s: the API's promises lie between 10 ms and 1 s.
_LATENCY: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

HTTP_REQUESTS: Final = Metric(
    "hanse_http_requests_total", "Requests answered.", ("method", "route", "status")
)
HTTP_SECONDS: Final = Metric(
    "hanse_http_request_seconds",
    "Time from a request's header to the end of its answer, streams left out.",
    ("method", "route"),
    _LATENCY,
)
HTTP_CONNECTIONS: Final = Metric("hanse_http_connections", "Open connections to the server.")
HTTP_REFUSED_CONNECTIONS: Final = Metric(
    "hanse_http_refused_connections_total", "Connections closed by a limit.", ("limit",)
)
HTTP_RATE_LIMITED: Final = Metric(
    "hanse_http_rate_limited_total",
    "Calls answered with 429: too many of a kind for an address, a user or a component.",
    ("guard", "kind"),
)
HTTP_STREAMS: Final = Metric("hanse_http_streams", "Open streams of changes.")
HTTP_SLOW_STREAMS: Final = Metric(
    "hanse_http_slow_streams_total", "Streams cut off because their reader fell behind."
)
LOGINS: Final = Metric("hanse_logins_total", "Attempts to log in.", ("outcome",))
WRITES: Final = Metric("hanse_writes_total", "Write requests by outcome.", ("outcome",))
WRITE_RETRIES: Final = Metric(
    "hanse_write_retries_total", "Validations repeated because what they read had changed."
)
AUDIT_WAITING: Final = Metric(
    "hanse_audit_waiting", "Audit records of reads and refusals that wait to be written."
)
AUDIT_LOST: Final = Metric(
    "hanse_audit_lost_total", "Audit records of reads and refusals that could not be kept."
)
AUDIT_FORWARDED: Final = Metric(
    "hanse_audit_forwarded_total", "Audit records and seals that a syslog receiver has taken."
)
RECONCILER_PASSES: Final = Metric(
    "hanse_reconciler_passes_total", "Passes of a reconciler.", ("reconciler", "outcome")
)
RECONCILER_SECONDS: Final = Metric(
    "hanse_reconciler_pass_seconds", "Time of one pass.", ("reconciler",), _LATENCY
)

CERTIFICATE_EXPIRES: Final = Metric(
    "hanse_certificate_expires_timestamp_seconds",
    "When a certificate of this server expires, in seconds since 1970.",
    ("certificate",),
)
EVENTS: Final = Metric("hanse_events_total", "Events that were told.", ("type", "severity"))
BREAK_GLASS_OPEN: Final = Metric(
    "hanse_break_glass_open", "1 while the emergency account of this server is open."
)
SITE_BREAK_GLASS_OPEN: Final = Metric(
    "hanse_site_break_glass_open",
    "FSM: 1 while a site's emergency account is open, as far as it has told.",
    ("site",),
)
BACKUP_FAILING: Final = Metric(
    "hanse_backup_failing", "1 while the last scheduled backup has failed.", ("policy",)
)
BACKUP_SUCCEEDED: Final = Metric(
    "hanse_backup_last_success_timestamp_seconds",
    "When the last scheduled backup succeeded, in seconds since 1970.",
    ("policy",),
)


class Metrics:
    """Makes each metric at its first use and returns the same one after that."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}

    def counter(self, metric: Metric) -> Counter:
        if metric.name not in self._counters:
            self._counters[metric.name] = Counter(
                metric.name, metric.meaning, metric.labels, registry=self.registry
            )
        return self._counters[metric.name]

    def gauge(self, metric: Metric) -> Gauge:
        if metric.name not in self._gauges:
            self._gauges[metric.name] = Gauge(
                metric.name, metric.meaning, metric.labels, registry=self.registry
            )
        return self._gauges[metric.name]

    def histogram(self, metric: Metric) -> Histogram:
        if metric.name not in self._histograms:
            self._histograms[metric.name] = Histogram(
                metric.name,
                metric.meaning,
                metric.labels,
                registry=self.registry,
                buckets=metric.buckets,
            )
        return self._histograms[metric.name]

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
