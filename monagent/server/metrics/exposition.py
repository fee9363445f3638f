"""The server's figures in Prometheus's text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import monagent
from monagent.errors import StoreAway
from monagent.server.database import Database
from monagent.server.metrics import last_values
from monagent.server.metrics.fleet import Fleet, counted
from monagent.server.metrics.own import Own
from monagent.server.web.bounded import TooMuch, bounded

COUNT_SECONDS = 5.0
"""The fleet is counted so often at most."""

_Values = Mapping[tuple[str, ...], float]


class Exposition:
    """Renders figures. prometheus_client is loaded with the first scrape. Any thread may ask."""

    def __init__(
        self,
        database: Database,
        own: Callable[[], Own],
        values: int,
        refused: Callable[[], Mapping[str, int]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            database: what it knows of the fleet is told while it is there.
            own: takes the figures of the server's parts.
            values: newest readings at most.
            refused: readers that were not let in, by reason.
            clock: seconds since the epoch.
        """
        self._database = database
        self._own = own
        self._values = values
        self._refused = refused
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._fleet: tuple[float, Fleet] | None = None
        self._process: Any = None

    def render(self) -> bytes:
        """All metrics now. Where the database does not answer, those that come from it are missing."""
        own, now = self._own(), self._clock()
        fleet: Fleet | None = None
        values = b""
        # A database that is known to be away is not waited for once more.
        if own.database_up:
            try:
                with bounded(self._database) as db:
                    fleet = self._counted(db, now)
                    rows, left_out = last_values.fetch(db, self._values)
                values = last_values.written(rows, left_out, now)
            except (StoreAway, TooMuch):
                fleet = None
        families = [*self._families(own, fleet is not None), *(_fleet(fleet) if fleet else ())]
        return self._rendered(families) + values

    def _counted(self, db: Any, now: float) -> Fleet:
        with self._lock:
            known = self._fleet
        if known is None or not 0 <= now - known[0] < COUNT_SECONDS:
            known = now, counted(db, now)
            with self._lock:
                self._fleet = known
        return known[1]

    def _families(self, own: Own, database_up: bool) -> Iterable[Any]:
        yield _family("info", "build", "Always 1.", {(monagent.__version__,): 1.0}, "version")
        yield _gauge("start_time_seconds", "When the server began.", self._started)
        yield _gauge("database_up", "1 while the database answers, 0 while it is away.", database_up)
        yield _gauge("database_silence_seconds", "Since the database was asked last.", own.silent)
        yield _counter("results", "Results that were kept.", {(): own.taken})
        yield _counter("results_refused", "Results that were refused for good.", _by_one(own.refused), "reason")
        yield _counter("requests_put_off", "Requests of agents that were told to come again.", {(): own.put_off})
        yield _counter("calls", "Calls by verdict: accepted, or the fault's code.", _by_one(own.calls), "verdict")
        yield _counter(
            "requests_refused", "Requests and connections that came to nothing, by HTTP status or by reason.",
            _by_one(own.requests_refused), "reason",
        )  # fmt: skip
        yield _counter(
            "readers_refused", "Readers of the API or the metrics without a token (none), with a wrong one, or with too many.",
            _by_one(self._refused()), "reason",
        )  # fmt: skip
        yield _gauge("connections", "Connections that are open and wait.", own.connections)
        yield _counter(
            "commands", "Commands by what became of them: acknowledged, refused, or trouble on the way.",
            _by_one(own.commands), "outcome",
        )  # fmt: skip
        yield _counter(
            "runs_put_off", "Runs that an outage had made late and that were spread.", {(): own.runs_put_off}
        )
        yield _counter(
            "runs_left_out", "Runs left out because the host could not be reached lately.", {(): own.runs_left_out}
        )
        yield _gauge("hosts_busy", "Hosts that something is being sent to.", own.busy)

    def _rendered(self, families: Iterable[Any]) -> bytes:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415
        from prometheus_client.process_collector import ProcessCollector  # noqa: PLC0415

        # Each answer has a registry of its own, so that two at once do not mix.
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Collected(families))
        return generate_latest(registry)


class _Collected:
    """What prometheus_client asks for."""

    def __init__(self, families: Iterable[Any]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Any]:
        return self._families


def _fleet(fleet: Fleet) -> Iterable[Any]:
    for name, help_text, value in (
        ("hosts", "Hosts that are defined.", fleet.hosts),
        ("hosts_silent", "Hosts that hand in nothing although they should.", fleet.silent),
        ("hosts_in_trouble", "Hosts that commands could not be sent to lately.", fleet.in_trouble),
        ("probes_stale", "Probes without results although their hosts hand in others.", fleet.stale),
        ("probes_due", "Probes whose time has come and that were not sent yet.", fleet.due),
        ("schedule_lateness_seconds", "How late the latest of them is.", fleet.lateness),
    ):
        yield _gauge(name, help_text, value)
    by_state = (
        ("probes", "Probes by state; none before the first reading.", fleet.probes),
        (
            "tickets_open",
            "Tickets that have not come to their end, by state; 50000 are counted at most.",
            fleet.tickets,
        ),
        ("incidents_open", "Incidents that go on, by state.", fleet.incidents),
        ("notifications", "Notifications that wait, or failed; 50000 are counted at most.", fleet.notifications),
    )
    for name, help_text, counts in by_state:
        yield _family("gauge", name, help_text, _by_one(counts), "state")
    ran: _Values = {(name,): job.ran or 0.0 for name, job in fleet.jobs.items()}
    trouble: _Values = {(name,): float(job.in_trouble) for name, job in fleet.jobs.items()}
    yield _family(
        "gauge", "job_last_run_timestamp_seconds", "When a job came to its end last; 0 for never.", ran, "job"
    )
    yield _family("gauge", "job_trouble", "1 when a job's last run failed; the log tells why.", trouble, "job")


def _by_one(counts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(key,): float(count) for key, count in counts.items()}


def _gauge(name: str, help_text: str, value: float) -> Any:
    return _family("gauge", name, help_text, {(): float(value)})


def _counter(name: str, help_text: str, values: _Values, *labels: str) -> Any:
    return _family("counter", name, help_text, values, *labels)


def _family(kind: str, name: str, help_text: str, values: _Values, *labels: str) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    cls = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    family = cls(f"monagent_{name}{'_info' if kind == 'info' else ''}", help_text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family
