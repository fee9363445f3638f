"""The server's methods over its real socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monagent.config import server_settings
from monagent.errors import Fault
from monagent.models import Value
from monagent.rpc.client import Client
from monagent.server.service import Server
from tests.support.server import issue as issue_to
from tests.support.server import known_host, outcome, reading, ticket_story

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DETAILS: dict[str, Value] = {"started": WHEN, "duration": 0.25, "error": "", "stderr": "grumble", "metrics": []}


def issue(server: Server, *tickets: str, method: str = "cmd_submit_reading", address: str = "127.0.0.1") -> None:
    """Tickets of a host of their own."""
    issue_to(server.database, known_host(server.database, f"host-{tickets[0]}", address), *tickets, method=method)


def code(client: Client, method: str, *params: Value) -> int:
    """The code of the fault that this call must end in."""
    with pytest.raises(Fault) as refused:
        client.call(method, *params)
    return refused.value.code


def test_a_reading_of_either_dialect_is_taken(server: Server, client: Client) -> None:
    """With two members or with three."""
    issue(server, "plain", "extended")

    assert client.call("cmd_store_probe_data", "plain", [0, "1.50"], WHEN) == "OK"
    assert client.call("cmd_store_probe_data", "extended", [-9, "nan", DETAILS], WHEN) == "OK"
    plain, extended = reading(server.database, "plain"), reading(server.database, "extended")
    assert plain is not None
    assert extended is not None
    assert (plain.ret_code, plain.data, plain.error) == (0, "1.50", "")
    assert (extended.ret_code, extended.data, extended.stderr, extended.duration) == (-9, "nan", "grumble", 0.25)
    assert plain.finished == WHEN.timestamp()


def test_an_integer_ticket_is_its_decimal_text(server: Server, client: Client) -> None:
    """As the protocol says."""
    issue(server, "7")

    assert client.call("cmd_store_probe_data", 7, [0, "1"], WHEN) == "OK"
    assert client.call("cmd_store_probe_data", 7, [0, "1"], WHEN) == "OK"
    assert reading(server.database, "7") is not None


def test_a_command_result_is_taken(server: Server, client: Client) -> None:
    """For the command that the ticket was issued for."""
    issue(server, "t", method="cmd_status")
    content: dict[str, Value] = {"status": "ok", "message": "fine", "more": [1, {"a": 2.5}]}

    assert code(client, "cmd_store_command_result", "t", "list_sensors", content, WHEN) == -32602
    assert code(client, "cmd_store_probe_data", "t", [0, "1"], WHEN) == -32602
    assert client.call("cmd_store_command_result", "t", "status", content, WHEN) == "OK"
    assert outcome(server.database, "t") == content


def test_a_repeat_is_ok_and_another_result_is_not(server: Server, client: Client) -> None:
    """The first one stays."""
    issue(server, "t")
    assert client.call("cmd_store_probe_data", "t", [0, "1"], WHEN) == "OK"

    assert client.call("cmd_store_probe_data", "t", [0, "1"], WHEN) == "OK"
    assert code(client, "cmd_store_probe_data", "t", [0, "2"], WHEN) == -32602
    assert reading(server.database, "t").data == "1"  # type: ignore[union-attr]


def test_results_without_a_ticket_of_ours_are_refused(server: Server, client: Client) -> None:
    """Unknown ones, and those of a host at another address."""
    issue(server, "foreign", address="192.0.2.77")

    assert code(client, "cmd_store_probe_data", "unknown", [0, "1"], WHEN) == -32602
    assert code(client, "cmd_store_probe_data", "foreign", [0, "1"], WHEN) == -32602
    assert ticket_story(server.database, "foreign").state == "issued"


@pytest.mark.parametrize(
    "params",
    [
        [],
        ["t"],
        ["t", [0, "1"]],
        ["t", [0, "1"], WHEN, 1],
        ["", [0, "1"], WHEN],
        [True, [0, "1"], WHEN],
        ["t", [0], WHEN],
        ["t", [0, "1", {}, 1], WHEN],
        ["t", "0 1", WHEN],
        ["t", ["0", "1"], WHEN],
        ["t", [2**31, "1"], WHEN],
        ["t", [True, "1"], WHEN],
        ["t", [0, 1], WHEN],
        ["t", [0, "one"], WHEN],
        ["t", [0, "inf"], WHEN],
        ["t", [0, ""], WHEN],
        ["t", [0, "1"], "2026-01-01"],
        ["t", [0, "1", "details"], WHEN],
        ["t", [0, "1", {"started": "now"}], WHEN],
        ["t", [0, "1", {"metrics": {}}], WHEN],
    ],
    ids=repr,
)
def test_a_malformed_reading_is_refused(server: Server, client: Client, params: list[Value]) -> None:
    """Whatever its ticket."""
    issue(server, "t")

    assert code(client, "cmd_store_probe_data", *params) == -32602
    assert reading(server.database, "t") is None


@pytest.mark.parametrize(
    "params",
    [
        ["t", "status", {"status": "ok", "message": ""}],
        ["t", 5, {"status": "ok", "message": ""}, WHEN],
        ["t", "status", [], WHEN],
        ["t", "status", {}, WHEN],
        ["t", "status", {"status": "fine", "message": ""}, WHEN],
        ["t", "status", {"status": "ok"}, WHEN],
        ["t", "status", {"status": "ok", "message": 5}, WHEN],
        ["t", "status", {"status": "ok", "message": ""}, "now"],
    ],
    ids=repr,
)
def test_a_malformed_command_result_is_refused(server: Server, client: Client, params: list[Value]) -> None:
    """Whatever its ticket."""
    issue(server, "t", method="cmd_status")

    assert code(client, "cmd_store_command_result", *params) == -32602
    assert outcome(server.database, "t") is None


@pytest.mark.parametrize(
    "odd",
    [
        {"status": "ok", "message": "m", "when": WHEN},
        {"status": "ok", "message": "m", "data": b"\0\xff"},
        {"status": "ok", "message": "m", "none": None, "big": 2**62, "text": "\u2028 ü"},
    ],
    ids=["a time", "bytes", "others"],
)
def test_whatever_an_outcome_carries_can_be_kept(server: Server, client: Client, odd: dict[str, Value]) -> None:
    """Every type of the protocol is taken, not only those that JSON has."""
    issue(server, "t", method="cmd_status")

    assert client.call("cmd_store_command_result", "t", "status", odd, WHEN) == "OK"
    assert outcome(server.database, "t") is not None


def test_a_batch_is_judged_result_by_result(server: Server, client: Client) -> None:
    """In one exchange, as agents send it."""
    issue(server, "a", "b")
    probe: list[Value] = [0, "1", DETAILS]
    answers = client.multicall(
        [
            ("cmd_store_probe_data", ["a", probe, WHEN]),
            ("cmd_store_probe_data", ["unknown", probe, WHEN]),
            ("cmd_store_probe_data", ["a", probe, WHEN]),
            ("cmd_store_probe_data", ["b", probe, WHEN]),
            ("cmd_store_probe_data", ["b", [1, "2"], WHEN]),
        ]
    )

    assert [answer.code if isinstance(answer, Fault) else answer for answer in answers] == [
        "OK", -32602, "OK", "OK", -32602,
    ]  # fmt: skip


def test_a_host_is_told_which_server_to_use(server: Server, client: Client) -> None:
    """By its name; a stranger is not."""
    known_host(server.database, "web1")

    assert client.call("cmd_get_new_monitor_url", "web1") == server.url
    assert code(client, "cmd_get_new_monitor_url", "web2") == -32602
    with pytest.raises(Fault, match=r"\[monitor\] name of client.cfg must be its name in monserver host list"):
        client.call("cmd_get_new_monitor_url", "WEB1")
    assert code(client, "cmd_get_new_monitor_url", 5) == -32602
    assert code(client, "cmd_get_new_monitor_url") == -32602


@contextmanager
def serving(config: Path, text: str) -> Iterator[tuple[Server, str]]:
    """A server with this configuration, and the URL that it really listens at."""
    config.write_text(text)
    server = Server(server_settings.load(config))
    server.start()
    try:
        yield server, f"http://127.0.0.1:{server._endpoint.address[1]}/xmlrpc/"
    finally:
        server.stop()


def ask_for_url(where: str) -> Value:
    """What web1 is told."""
    client = Client(where, timeout=20)
    try:
        return client.call("cmd_get_new_monitor_url", "web1")
    finally:
        client.close()


def test_an_operator_moves_agents_by_the_url_of_the_old_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Change `[server] url`, restart: its hosts are still known, and are sent to the other server."""
    caplog.set_level("INFO")
    config, new = tmp_path / "server.cfg", "https://new.example.org:8081/xmlrpc/"
    with serving(config, "[server]\nport = 0\n") as (server, where):
        known_host(server.database, "web1")
        assert ask_for_url(where) == where
        assert f"takes results at {where}" in caplog.text

    with serving(config, f"[server]\nport = 0\nurl = {new}\n") as (_, where):
        assert ask_for_url(where) == new
        assert f"listens on 127.0.0.1 port {where.split(':')[2].split('/')[0]}, URL for agents: {new}" in caplog.text


def test_a_server_that_listens_everywhere_must_be_told_its_url(tmp_path: Path) -> None:
    """`0.0.0.0` would lead each agent to its own host."""
    config = tmp_path / "server.cfg"
    with serving(config, "[server]\nhost = 0.0.0.0\nport = 0\n") as (server, where):
        known_host(server.database, "web1")
        with pytest.raises(Fault, match=r"\[server\] url must say it") as refused:
            ask_for_url(where)
        assert refused.value.code == -32602

    with serving(config, "[server]\nhost = 0.0.0.0\nport = 0\nurl = http://192.0.2.1:8081/\n") as (_, where):
        assert ask_for_url(where) == "http://192.0.2.1:8081/"


def test_a_server_says_that_it_is_up_and_what_it_speaks(client: Client) -> None:
    """The healthcheck, the methods and the extended dialect."""
    capabilities, methods = client.call("system.getCapabilities"), client.call("system.listMethods")

    assert client.call("healthcheck") == "OK"
    assert isinstance(capabilities, dict)
    assert "monagent" in capabilities
    assert isinstance(methods, list)
    assert {"cmd_store_probe_data", "cmd_store_command_result", "cmd_get_new_monitor_url", "healthcheck"} <= {*methods}
