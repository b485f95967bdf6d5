"""Counts requests; the metrics of a route are looked up once."""

from prometheus_client import Counter, Histogram

from shared.metrics.names import HTTP_REQUESTS, HTTP_SECONDS, Metrics


class RequestMeters:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count an answer; `seconds` is None for a stream.

        All three come in few values: `method` and `route` are ours, not the client's.
        """
        found = self._known.get((method, route, status))
        if found is None:
            found = self._known[method, route, status] = (
                self._metrics.counter(HTTP_REQUESTS).labels(method, route, str(status)),
                self._metrics.histogram(HTTP_SECONDS).labels(method, route),
            )
        found[0].inc()
        if seconds is not None:
            found[1].observe(seconds)
