"""The JSON API: what is told, to whom, and what is said to those who ask wrongly."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text, update

from monagent.server import schema, tokens
from monagent.server.api.answer import plain
from monagent.server.api.routes import RESOURCES, Api
from monagent.server.database import Database
from monagent.server.service import Server
from monagent.server.web.bounded import TooMuch, bounded
from monagent.server.web.turns import Crowded, Turns
from tests.support.server import define, issue, known_host
from tests.unit.server.asking import Reply, ask, serving

NOW = 1_800_000_000.0
ISO = "2027-01-15T08:00:00Z"


def told(database: Database, path: str, **parameters: Any) -> Any:
    """A good answer."""
    answer = Api(database, lambda: NOW).answer(path.split("/"), parameters)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def refused(database: Database, path: str, **parameters: Any) -> tuple[int, dict[str, str]]:
    """An answer that says no."""
    answer = Api(database, lambda: NOW).answer(path.split("/"), parameters)
    return answer.status.value, json.loads(answer.body)


def pages(database: Database, path: str, **parameters: Any) -> list[list[Any]]:
    """All pages, from the first to the last."""
    found = [told(database, path, **parameters)]
    while found[-1]["next"]:
        assert len(found) < 50
        found.append(told(database, path, cursor=found[-1]["next"], **parameters))
    return [one["items"] for one in found]


def probes(database: Database, hosts: list[str], names: list[str]) -> None:
    """These probes on these hosts, without readings."""
    for host in hosts:
        known_host(database, host)
    wanted: dict[Any, Any] = {("probe", name): {"sensor": "disk", "hosts": hosts} for name in names}
    define(database, {("sensor", "disk"): {}, **wanted})


def test_hosts_are_told_with_how_they_fare(database: Database) -> None:
    """By name; those of one kind alone where somebody wants so."""
    probes(database, ["b", "a"], ["p", "q"])
    with database.write() as db:
        db.execute(update(schema.host).where(schema.host.c.name == "b").values(silent=NOW, trouble="no route to host"))
        db.execute(update(schema.host_probe).where(schema.host_probe.c.probe == "p").values(state="critical"))
    first, second = told(database, "hosts")["items"]

    assert (first["name"], first["silent"], first["states"]) == ("a", None, {"critical": 1, "none": 1})
    assert (second["name"], second["silent"], second["trouble"]) == ("b", ISO, "no route to host")
    assert [one["name"] for one in told(database, "hosts", state="trouble")["items"]] == ["b"]


def test_one_host_is_told_with_probes_and_queue(database: Database) -> None:
    """And 404 for one that is not there."""
    probes(database, ["web1"], ["p"])
    host = known_host(database, "web1")
    issue(database, host, "t1", "t2", issued=NOW)
    issue(database, host, "t3", state="done", ended=NOW)
    with database.write() as db:
        db.execute(update(schema.host_probe).values(state="ok", value=1.5, data="1.50", finished=NOW, ret_code=0))
    one = told(database, "hosts/web1")

    assert (one["address"], one["tickets"], one["oldest_ticket"]) == ("127.0.0.1", {"issued": 2}, ISO)
    assert [(each["probe"], each["value"], each["finished"]) for each in one["probes"]] == [("p", 1.5, ISO)]
    assert refused(database, "hosts/web2") == (404, {"error": "there is no host 'web2'; /api/v1/hosts names them all"})


def test_probes_are_found_by_host_and_state(database: Database) -> None:
    """And by sensor and name; those without a reading have no state."""
    probes(database, ["a", "b"], ["p", "q"])
    with database.write() as db:
        db.execute(update(schema.host_probe).where(schema.host_probe.c.probe == "p").values(state="warning"))

    def names(**asked: str) -> list[tuple[str, str]]:
        return [(one["host"], one["probe"]) for one in told(database, "probes", **asked)["items"]]

    assert names() == [("a", "p"), ("a", "q"), ("b", "p"), ("b", "q")]
    assert names(host="a", state="warning") == [("a", "p")]
    assert names(state="none") == [("a", "q"), ("b", "q")]
    assert names(sensor="load") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_together_are_the_whole(database: Database, limit: int) -> None:
    """Each thing once, in order, whatever the size of a page."""
    probes(database, ["a", "b", "c"], ["p", "q"])
    for host in ("a", "b", "c"):
        issue(database, known_host(database, host), f"{host}1", f"{host}2", issued=NOW)
    asked = {"limit": str(limit)}
    found = {path: pages(database, path, **asked) for path in ("hosts", "probes", "tickets", "sensors/inventory")}

    assert all(len(page) <= limit for one in found.values() for page in one)
    assert [one["name"] for page in found["hosts"] for one in page] == ["a", "b", "c"]
    assert [one["host"] + one["probe"] for page in found["probes"] for one in page] == [
        "ap",
        "aq",
        "bp",
        "bq",
        "cp",
        "cq",
    ]
    assert [one["ticket"] for page in found["tickets"] for one in page] == ["c2", "c1", "b2", "b1", "a2", "a1"]
    assert [(one["host"], one["state"]) for page in found["sensors/inventory"] for one in page] == [
        ("a", "unknown"), ("b", "unknown"), ("c", "unknown"),
    ]  # fmt: skip


def test_readings_are_told_as_points(database: Database) -> None:
    """Single ones as long as they fit; what is no number is null."""
    probes(database, ["web1"], ["p"])
    with database.write() as db:
        row = {"host_id": 1, "host_probe_id": 1, "received": NOW, "ret_code": 0, "data": "1"}
        for number, value in enumerate((1.5, None, 2.5)):
            db.execute(insert(schema.reading).values(ticket_id=number, finished=NOW - 30 + number, value=value, **row))
    found = told(database, "readings", host="web1", probe="p")

    assert (found["from"], found["to"], found["seconds_each"]) == ("2027-01-14T08:00:00Z", ISO, 0)
    assert [point["mean"] for point in found["points"]] == [1.5, None, 2.5]
    assert found["points"][0]["time"] == "2027-01-15T07:59:30Z"
    asked = {"host": "web1", "probe": "p", "from": "2027-01-15T08:59:31+01:00", "to": str(NOW - 28.5)}
    assert [point["mean"] for point in told(database, "readings", **asked)["points"]] == [None]


def test_one_ticket_is_told_with_what_came_back(database: Database) -> None:
    """A reading, or an outcome, or nothing yet."""
    host = known_host(database, "web1")
    issue(database, host, "open")
    issue(database, host, "done", method="cmd_status", state="done", finished=NOW)
    with database.write() as db:
        number = db.execute(text("select id from ticket where ticket = 'done'")).scalar_one()
        row = {"ticket_id": number, "host_id": host.id, "content": {"status": "ok", "load": [1.5]}, "finished": NOW}
        db.execute(insert(schema.outcome).values(row))
    done = told(database, "tickets/done")

    assert (done["host"], done["method"], done["finished"]) == ("web1", "cmd_status", ISO)
    assert done["result"] == {"status": "ok", "load": [1.5]}
    assert told(database, "tickets/open")["result"] is None
    assert refused(database, "tickets/other")[0] == 404
    assert [one["ticket"] for one in told(database, "tickets", state="done", host="web1")["items"]] == ["done"]
    assert told(database, "tickets", since="2999-01-01")["items"] == []


def test_incidents_are_told_without_secrets(database: Database) -> None:
    """The path of a webhook is as good as a password."""
    host = known_host(database, "web1")
    row = {"host_id": host.id, "worst": "silent", "state": "silent", "message": "m", "opened": NOW, "flapping": False}
    with database.write() as db:
        db.execute(insert(schema.incident).values(**row, closed=NOW + 1))
        number = db.execute(insert(schema.incident).values(row).returning(schema.incident.c.id)).scalar_one()
        note = {"rule": "r", "channel": "webhook", "target": "https://hooks.example.org/SECRET", "what": "problem"}
        db.execute(
            insert(schema.notification).values(
                **note, incident_id=number, content={}, state="sent", created=NOW, attempts=1
            )
        )
    (one,) = told(database, "incidents", open="1")["items"]
    story = told(database, f"incidents/{one['id']}")

    assert (one["host"], one["probe"], one["opened"], one["closed"]) == ("web1", None, ISO, None)
    assert len(pages(database, "incidents", limit="1")) == 2
    assert [told["target"] for told in story["notifications"]] == ["https://hooks.example.org/…"]
    assert "SECRET" not in json.dumps(story)
    assert refused(database, "incidents/999")[0] == 404


def test_rollouts_are_told_with_their_hosts(database: Database) -> None:
    """As `monserver rollout` does."""
    host = known_host(database, "web1")
    package = {"sensor": "disk", "version": "2", "content": b"x", "sha256": "0", "digest": "0", "uploaded": NOW}
    with database.write() as db:
        db.execute(insert(schema.package).values(**package, note="", current=False))
        row = {"package_id": 1, "state": "running", "stage": 0, "stages": [1], "patience": 9.0, "restore": True}
        db.execute(insert(schema.rollout).values(**row, push=False, started=NOW, by="anna"))
        member = {"rollout_id": 1, "host_id": host.id, "stage": 0, "position": 0, "state": "waiting", "changed": NOW}
        db.execute(insert(schema.rollout_host).values(member))
    (one,) = told(database, "rollouts")["items"]

    assert (one["sensor"], one["started"], one["hosts"]) == ("disk", ISO, {"waiting": 1})
    assert [each["name"] for each in told(database, "rollouts/1")["hosts"]] == ["web1"]
    assert refused(database, "rollouts/2")[0] == 404


@pytest.mark.parametrize(
    ("path", "parameters", "parameter", "error"),
    [
        ("hosts", {"sate": "silent"}, "sate", "there is no such parameter here; there are: state, limit, cursor"),
        ("hosts", {"state": "bad"}, "state", "must be one of: silent, trouble"),
        ("hosts", {"limit": "1001"}, "limit", "must be a whole number from 1 to 1000"),
        ("hosts", {"limit": "-1"}, "limit", "must be a whole number from 1 to 1000"),
        ("hosts", {"limit": "1٣"}, "limit", "must be a whole number from 1 to 1000"),
        ("hosts", {"limit": ["1", "2"]}, "limit", "must be given once only"),
        ("hosts", {"cursor": "x"}, "cursor", "must be what the former page named as its next one"),
        ("hosts", {"cursor": "WzFd"}, "cursor", "must be what the former page named as its next one"),
        ("tickets", {"cursor": "W05hTiwxXQ=="}, "cursor", "must be what the former page named as its next one"),
        ("hosts", {"cursor": "W1tbW1tbW1tb" * 160}, "cursor", "must be what the former page named as its next one"),
        ("probes", {"host": ""}, "host", "must be 1 to 255 characters"),
        ("probes", {"host": "a\0"}, "host", "must be 1 to 255 characters"),
        ("readings", {"host": "a"}, "probe", "must be given: the probe's name"),
        ("rollouts", {"a": "b"}, "a", "there is no such parameter here; there are: none"),
        ("rollouts/x", {}, "id", "must be a whole number from 1 to 536870912"),
        ("openapi.json", {"a": "b"}, "a", "there is no such parameter here; there are: none"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named_with_what_would_do(
    tmp_path: Path, path: str, parameters: Any, parameter: str, error: str
) -> None:
    """Before the database is asked."""
    nowhere = Database(f"sqlite:///{tmp_path}/no/such/directory.db")

    assert refused(nowhere, path, **parameters) == (400, {"error": error, "parameter": parameter})


@pytest.mark.parametrize(
    "given", ["yesterday", "2026-13-01", "nan", "1e99", "999999999999", "-1", "", "2026-01-01T00:00:00 01:00"]
)
def test_a_wrong_time_is_told(tmp_path: Path, given: str) -> None:
    """With an example."""
    status, body = refused(Database(f"sqlite:///{tmp_path}/no/such.db"), "tickets", since=given)

    assert (status, body["parameter"]) == (400, "since")
    assert "2026-11-22T07:00:00Z" in body["error"]


@pytest.mark.parametrize(
    ("path", "key"), [("incidents", [2**62]), ("incidents", [-(2**62)]), ("tickets", [-1e18, 2**62])]
)
def test_a_made_up_cursor_does_no_harm(database: Database, path: str, key: list[Any]) -> None:
    """It finds what is behind it, on either engine."""
    made_up = base64.urlsafe_b64encode(json.dumps(key).encode()).decode()

    assert told(database, path, cursor=made_up) == {"items": [], "next": None}


@pytest.mark.parametrize("path", ["", "x", "hosts/a/b", "sensors", "Hosts", "openapi.json/x", "__class__", "_database"])
def test_what_is_not_there_is_not_there(tmp_path: Path, path: str) -> None:
    """404, with what there is."""
    status, body = refused(Database(f"sqlite:///{tmp_path}/no/such.db"), path)

    assert status == 404
    assert "tickets/{ticket}" in body["error"]


def test_a_range_of_readings_must_be_one(database: Database) -> None:
    """It begins before it ends."""
    probes(database, ["web1"], ["p"])
    asked = {"host": "web1", "probe": "p", "from": "2026-01-02", "to": "2026-01-01"}

    assert refused(database, "readings", **asked) == (400, {"error": "must be before `to`", "parameter": "from"})


def test_no_number_is_null() -> None:
    """However deep it hides: JSON has no such thing."""
    nan, inf = float("nan"), float("inf")

    assert plain({"a": [nan, {"b": -inf}], "c": 1.5, 2: (inf,)}) == {"a": [None, {"b": None}], "c": 1.5, "2": [None]}


def test_a_search_that_takes_too_long_ends(database: Database) -> None:
    """On either engine; and the connection is good for the next."""
    numbers = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000) select max(i) from n"
    )
    began = time.monotonic()
    with pytest.raises(TooMuch, match=r"did not find it within 0\.2 s"), bounded(database, 0.2) as db:
        db.execute(text(numbers))

    assert time.monotonic() - began < 2
    with bounded(database, 5.0) as db:
        assert db.execute(text("select 1")).scalar() == 1


def test_only_a_few_read_at_once() -> None:
    """One more waits for a moment; everybody else is told to come again."""
    turns = Turns(at_once=1, waiting=1, seconds=0.05)
    with turns.one(), pytest.raises(Crowded, match="take too long"), turns.one():
        pass
    crowded = Turns(at_once=1, waiting=0)
    with crowded.one(), pytest.raises(Crowded, match="too many"), crowded.one():
        pass
    with crowded.one(), turns.one():
        pass


def test_every_resource_is_described(database: Database) -> None:
    """With its parameters, in OpenAPI."""
    document = told(database, "openapi.json")

    assert len(document["paths"]) == len(RESOURCES)
    operation = document["paths"]["/tickets"]["get"]
    assert [one["name"] for one in operation["parameters"]] == ["host", "state", "since", "limit", "cursor"]
    assert document["paths"]["/hosts/{name}"]["get"]["parameters"][0]["in"] == "path"


def test_the_reference_page_names_everything() -> None:
    """Each path with each of its parameters."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "json-api.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `/([^`]*)`\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))

    assert sections.keys() == {"/".join(one.path) for one in RESOURCES} | {"openapi.json"}
    for one in RESOURCES:
        named = set(re.findall(r"^\| `([a-z]+)` \|", sections["/".join(one.path)], re.MULTILINE))
        assert named == {parameter.name for parameter in one.parameters}


# -- over HTTP ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with a host."""
    with serving(tmp_path_factory.mktemp("api")) as one:
        known_host(one.database, "web1")
        yield one


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    """A good one."""
    return tokens.add(server.database, "test", time.time())


def assert_json(reply: Reply, status: int) -> Any:
    """Every answer is JSON, and kept by nobody."""
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    return reply.json


def test_a_token_is_needed(server: Server, token: str) -> None:
    """From loopback, too: 401 without, 403 with a wrong one."""
    without = ask(server, "/api/v1/hosts", address="127.0.0.1")

    assert "Authorization: Bearer" in assert_json(without, 401)["error"]
    assert without.headers["www-authenticate"] == 'Bearer realm="monagent"'
    assert (
        "not known" in assert_json(ask(server, "/api/v1/hosts", token[:-1] + "~", address="192.0.2.50"), 403)["error"]
    )
    assert [one["name"] for one in assert_json(ask(server, "/api/v1/hosts", token), 200)["items"]] == ["web1"]


def test_who_guesses_is_shut_out_for_a_minute(server: Server, token: str) -> None:
    """He alone."""
    replies = [ask(server, "/api/v1/hosts", "x", address="192.0.2.66").status for _ in range(21)]
    after = ask(server, "/api/v1/hosts", token, address="192.0.2.66")

    assert replies == [403] * 20 + [429]
    assert "too many" in assert_json(after, 429)["error"]
    assert 1 <= int(after.headers["retry-after"]) <= 61
    assert ask(server, "/api/v1/hosts", token, address="192.0.2.67").status == 200


def test_what_somebody_has_is_not_sent_again(server: Server, token: str) -> None:
    """304 for the tag of the same answer."""
    first = ask(server, "/api/v1/hosts", token)
    same = ask(server, "/api/v1/hosts", token, If_None_Match=f'"other", W/{first.headers["etag"]}')
    other = ask(server, "/api/v1/hosts", token, If_None_Match='"other"')

    assert (same.status, same.text, same.headers["etag"]) == (304, "", first.headers["etag"])
    assert other.status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/hosts/web%31", 200),
        ("/api/v1/hosts?limit=1", 200),
        ("/api/v1/hosts?limit=1&limit=2", 400),
        ("/api/v1/hosts?self=1&api=2", 400),
        ("/api/v1/hosts?limit=%ff", 404),
        ("/api/v1/hosts?1,2", 400),
        ("/api/v1/hosts/web2", 404),
        ("/api/v1/hosts/%252e%252e", 404),
        ("/api/v1/__class__", 404),
        ("/api/v1/hosts/__init__/__globals__", 404),
        ("/api/v1/hosts/a%252Fb", 404),
    ],
)
def test_paths_and_questions_are_read_strictly(server: Server, token: str, path: str, status: int) -> None:
    """What is wrong is told as JSON."""
    body = assert_json(ask(server, path, token), status)

    assert status == 200 or body["error"]


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/hosts", "/api/v1/hosts/", "/api/v1//hosts", "/api/v1/../metrics",
     "/api/v1/%2e%2e/hosts", "/api/v1/hosts%00", "/api/v1/hosts%0a", "/API/v1/hosts"],
)  # fmt: skip
def test_odd_paths_get_no_further_than_the_gate(server: Server, token: str, path: str) -> None:
    """Two programs could read them in two ways."""
    assert ask(server, path, token).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(server: Server, token: str, method: str) -> None:
    """405 for all verbs that do not read; a body is not taken; HEAD is GET without the body."""
    assert ask(server, "/api/v1/hosts", token, method=method).status == 405
    assert ask(server, "/api/v1/hosts", token, Content_Length="5").status == 413
    head, whole = (ask(server, "/api/v1/hosts", token, method=verb) for verb in ("HEAD", "GET"))
    assert (head.status, head.text, head.headers["etag"]) == (200, "", whole.headers["etag"])
