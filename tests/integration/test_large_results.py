"""Results that grow on their way must not block those behind them."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conftest import StartAgent
from tests.support.agent import write_sensor
from tests.support.server import known_host, reading, send_checks, server_in

SHOUT = "#!/bin/sh\ni=0\nwhile [ $i -lt 400 ]; do printf '&&&&&&&&&&' >&2; i=$((i + 1)); done\necho 1\n"


def test_a_hundred_results_that_grow_fivefold_on_the_wire_all_arrive(tmp_path: Path, make_agent: StartAgent) -> None:
    """4 KiB of ampersands are 20 KiB in XML; a batch is measured as it travels."""
    server = server_in(tmp_path)
    server.start()
    try:
        agent = make_agent(server.url)
        write_sensor(agent.directory, "shout", SHOUT)
        agent.start()
        host = known_host(server.database, "here", port=agent.port)
        tickets = send_checks(server.database, host, [("shout", [])] * 100)
        until = time.monotonic() + 60
        waiting = {ticket for ticket in tickets if isinstance(ticket, str)}
        while waiting and time.monotonic() < until:
            waiting = {ticket for ticket in waiting if reading(server.database, ticket) is None}

        assert len(tickets) == 100
        assert waiting == set()
    finally:
        server.stop()
