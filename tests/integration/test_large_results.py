"""Results that grow on their way must not block those behind them."""

from __future__ import annotations

import time
from pathlib import Path

from monagent.server.dispatcher import Dispatcher
from tests.conftest import StartAgent
from tests.end_to_end.test_never_lost import server_in
from tests.support.agent import write_sensor

SHOUT = "#!/bin/sh\ni=0\nwhile [ $i -lt 400 ]; do printf '&&&&&&&&&&' >&2; i=$((i + 1)); done\necho 1\n"


def test_a_hundred_results_that_grow_fivefold_on_the_wire_all_arrive(tmp_path: Path, make_agent: StartAgent) -> None:
    """4 KiB of ampersands are 20 KiB in XML; a batch is measured as it travels."""
    server = server_in(tmp_path)
    server.start()
    try:
        agent = make_agent(server.url)
        write_sensor(agent.directory, "shout", SHOUT)
        agent.start()
        server.store.add_host("here", "127.0.0.1", agent.port)
        host = server.store.host("here")
        assert host is not None
        tickets = Dispatcher(server.store).send_checks(host, [("shout", [])] * 100)
        until = time.monotonic() + 60
        waiting = {ticket for ticket in tickets if isinstance(ticket, str)}
        while waiting and time.monotonic() < until:
            waiting = {ticket for ticket in waiting if server.store.reading(ticket) is None}

        assert len(tickets) == 100
        assert waiting == set()
    finally:
        server.stop()
