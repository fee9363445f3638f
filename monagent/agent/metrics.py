"""The agent's figures in Prometheus's text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import monagent
from monagent.agent.vitals import BUCKETS, Totals
from monagent.sync.overdue import Standing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Figures:
    """What is read off the agent's parts at one moment. Times are seconds since the epoch, sizes bytes.

    Attributes:
        totals: what became of the work.
        calls: calls by verdict: accepted, or the fault's code.
        refused: requests that were refused before they became calls, by reason.
        started: when the agent began.
        waiting, running: commands that no worker has taken, and that are being done.
        journaled: commands by state: accepted, finished, rejected.
        oldest: when the oldest undelivered result was finished; None when there is none.
        journal_bytes, journal_limit: what the journal takes and may take.
        delivered, refusals: results that the server took, and times that it refused one.
        last_delivery: when, None before the first.
        away_since: since when the server cannot be reached, None while it can.
        connections: that are open and wait.
        backups: how each job stands, by name.
        mails: how many wait and were sent, and why none can be; as `cmd_status` tells.
    """

    totals: Totals
    calls: Mapping[str, int]
    refused: Mapping[str, int]
    started: float
    waiting: int
    running: int
    journaled: Mapping[str, int]
    oldest: float | None
    journal_bytes: int
    journal_limit: int
    delivered: int
    refusals: int
    last_delivery: float | None
    away_since: float | None
    connections: int
    backups: Mapping[str, Standing]
    mails: Mapping[str, Any]


class Exposition:
    """Renders figures. The library is loaded with the first scrape."""

    def __init__(self, figures: Callable[[], Figures], clock: Callable[[], float]) -> None:
        """
        Args:
            figures: takes them.
            clock: seconds since the epoch.
        """
        self._figures = figures
        self._clock = clock
        self._registry: Any = None

    def render(self) -> bytes:
        """All metrics now."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415
        from prometheus_client.process_collector import ProcessCollector  # noqa: PLC0415

        if self._registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
            registry.register(self)
            self._registry = registry
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Any]:
        """What prometheus_client asks for."""
        figures, now = self._figures(), self._clock()
        yield _family("info", "build", "Always 1.", {(monagent.__version__,): 1.0}, "version")
        yield from _work(figures.totals)
        yield _family(
            "counter", "calls", "Calls by verdict: accepted, or the fault's code.", _by_one(figures.calls), "verdict"
        )
        yield _family(
            "counter", "requests_refused", "Requests that were refused before they became calls.",
            _by_one(figures.refused), "reason",
        )  # fmt: skip
        yield _family(
            "gauge", "commands", "Commands in the journal by state: accepted, finished (undelivered), rejected.",
            _by_one(figures.journaled), "state",
        )  # fmt: skip
        for name, help_text, value in (
            ("start_time_seconds", "When the agent began.", figures.started),
            ("queue_waiting", "Commands that no worker has taken yet.", figures.waiting),
            ("queue_running", "Commands being done.", figures.running),
            ("oldest_undelivered_seconds", "Age of the oldest undelivered result.", now - (figures.oldest or now)),
            ("journal_bytes", "Size of the journal.", figures.journal_bytes),
            ("journal_limit_bytes", "Size at which new commands are refused.", figures.journal_limit),
            ("server_up", "1 while the server takes results, 0 while it cannot be reached.", figures.away_since is None),
            ("last_delivery_timestamp_seconds", "When the server took a result last; 0 before the first.", figures.last_delivery or 0),
            ("mails_waiting", "Mails that no mail server has taken yet.", figures.mails["waiting"]),
            ("mail_server_up", "1 while mail can be sent, 0 while no mail server takes any.", not figures.mails["problem"]),
            ("connections", "Connections that are open and wait.", figures.connections),
        ):  # fmt: skip
            yield _family("gauge", name, help_text, {(): float(value)})
        yield from _backups(figures.backups)
        yield _family("counter", "mails_sent", "Mails that a mail server took.", {(): float(figures.mails["sent"])})
        yield _family("counter", "deliveries", "Results that the server took.", {(): float(figures.delivered)})
        yield _family(
            "counter", "delivery_refusals", "Times that the server refused a result.", {(): float(figures.refusals)}
        )


def _work(totals: Totals) -> Iterable[Any]:
    runs = {key: float(count) for key, count in totals.runs.items()}
    seconds = {(sensor,): value for sensor, value in totals.seconds.items()}
    commands = {key: float(count) for key, count in totals.commands.items()}
    yield _family(
        "counter",
        "runs",
        "Runs of sensors by how they ended: ok, exit (another code), or an error.",
        runs,
        "sensor",
        "result",
    )
    yield _family("counter", "run_seconds", "How long the runs of a sensor took together.", seconds, "sensor")
    yield _durations(totals)
    yield _family("counter", "other_commands", "Other commands by how they ended.", commands, "command", "status")


def _durations(totals: Totals) -> Any:
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415

    counts = accumulate(totals.durations)
    buckets = [(str(bound), float(count)) for bound, count in zip((*BUCKETS, "+Inf"), counts, strict=True)]
    return HistogramMetricFamily(
        "monagent_run_duration_seconds", "How long the runs of all sensors took.", buckets, sum(totals.seconds.values())
    )


def _backups(backups: Mapping[str, Standing]) -> Iterable[Any]:
    success = {(job,): stands.last_success or 0.0 for job, stands in backups.items()}
    proof = {(job,): stands.last_full_proof or 0.0 for job, stands in backups.items()}
    overdue = {(job,): float(bool(stands.problem)) for job, stands in backups.items()}
    for name, help_text, values in (
        ("last_success_timestamp_seconds", "When a backup job last succeeded; 0 for never.", success),
        ("last_full_proof_timestamp_seconds", "When all of it was last read; 0 for never.", proof),
        ("overdue", "1 while a job has not succeeded for longer than its max_age.", overdue),
    ):
        yield _family("gauge", f"backup_{name}", help_text, values, "job")


def _by_one(counts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(key,): float(count) for key, count in counts.items()}


def _family(kind: str, name: str, help_text: str, values: Mapping[Any, float], *labels: str) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    cls = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    family = cls(f"monagent_{name}{'_info' if kind == 'info' else ''}", help_text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family
