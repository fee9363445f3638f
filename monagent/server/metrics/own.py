"""Read the figures of the server's own parts off them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from monagent.rpc.endpoint import Endpoint
from monagent.server.dispatcher import Dispatcher
from monagent.server.intake import Intake
from monagent.server.web.calls import Calls


@dataclass(frozen=True, slots=True)
class Own:
    """The parts at one moment; counters are since the start.

    Attributes:
        taken: results kept.
        refused: results refused, by reason.
        calls: by verdict: accepted, or the fault's code.
        put_off: requests that were told to come again, because the database or a name server was away.
        requests_refused: requests and connections that came to nothing, by HTTP status or reason.
        connections: that are open and wait.
        commands: by what became of them: acknowledged, refused, trouble.
        runs_put_off, runs_left_out: of the schedule, see `Scheduler`.
        busy: hosts that something is being sent to.
        has_begun: the database has been there since the start.
        database_up: it can be asked now.
        silent: seconds since it was asked last.
    """

    taken: int
    refused: Mapping[str, int]
    calls: Mapping[str, int]
    put_off: int
    requests_refused: Mapping[str, int]
    connections: int
    commands: Mapping[str, int]
    runs_put_off: int
    runs_left_out: int
    busy: int
    has_begun: bool
    database_up: bool
    silent: float


def own(intake: Intake, dispatcher: Dispatcher, endpoint: Endpoint, calls: Calls) -> Own:
    """Look at the parts now."""
    has_begun = bool(dispatcher.beat)
    return Own(
        taken=intake.taken,
        refused=dict(intake.refused),
        calls=calls.counts(),
        put_off=calls.put_off,
        requests_refused=endpoint.refused,
        connections=endpoint.connections,
        commands=dict(dispatcher.counts),
        runs_put_off=dispatcher.scheduler.put_off,
        runs_left_out=dispatcher.scheduler.left_out,
        busy=dispatcher.busy,
        has_begun=has_begun,
        database_up=has_begun and dispatcher.away is None,
        silent=time.monotonic() - dispatcher.beat if has_begun else 0.0,
    )
