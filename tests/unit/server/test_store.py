"""The server's memory on SQLite."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monagent.errors import BadArguments
from monagent.server.records import Delivery, Host
from monagent.server.store import Store, open_engine
from tests.unit.server.conftest import known_host

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SUBMIT = "cmd_submit_reading"


def delivery(ticket: str, data: str = "1", method: str = SUBMIT, later: float = 0) -> Delivery:
    """A result as an agent hands it in."""
    content = {"ret_code": 0, "data": data, "error": "", "stderr": "", "duration": 0.5, "started": WHEN, "metrics": []}
    outcome = {"status": "ok", "message": data}
    when = WHEN + timedelta(seconds=later)
    return Delivery(ticket, "127.0.0.1", method, content if method == SUBMIT else outcome, when, data.encode())


def redeem(store: Store, *deliveries: Delivery) -> None:
    """Keep results for tickets that were issued."""
    found = store.tickets([one.ticket for one in deliveries])
    store.redeem([(found[one.ticket][0], one) for one in deliveries])


def test_hosts_are_listed_by_name(store: Store) -> None:
    """With all that was said about them."""
    store.add_host("b", "192.0.2.1", 8080)
    store.add_host("a", "::1", 1, ("10.0.0.0/8", "::/0"))

    assert [(one.name, one.address, one.port, one.sources) for one in store.hosts()] == [
        ("a", "::1", 1, ("10.0.0.0/8", "::/0")), ("b", "192.0.2.1", 8080, ()),
    ]  # fmt: skip
    assert store.host("a") == store.hosts()[0]
    assert store.host("A") is None


def test_a_name_is_given_once(store: Store, host: Host) -> None:
    """The first host stays as it was."""
    with pytest.raises(BadArguments, match="web1"):
        store.add_host("web1", "192.0.2.9", 1)
    assert store.hosts() == [host]


def test_a_host_goes_with_its_tickets_and_readings(store: Store, host: Host) -> None:
    """And others keep theirs."""
    other = known_host(store, "other")
    store.issue(host, SUBMIT, [("t", ["disk", []])])
    store.issue(other, SUBMIT, [("u", ["disk", []])])
    redeem(store, delivery("t"), delivery("u"))

    assert store.remove_host("web1")
    assert not store.remove_host("web1")
    assert set(store.tickets(["t", "u"])) == {"u"}
    assert [reading.host for reading in store.latest()] == ["other"]


def test_a_ticket_is_known_from_its_issue_on(store: Store, host: Host) -> None:
    """With its host, command and arguments; unknown ones are left out."""
    store.issue(host, SUBMIT, [("t", ["disk", ["/"]]), ("u", ["load", []])])
    found = store.tickets(["t", "nothing"])

    assert set(found) == {"t"}
    ticket, owner = found["t"]
    assert owner == host
    assert (ticket.method, ticket.arguments, ticket.state, ticket.host_id) == (
        SUBMIT,
        ["disk", ["/"]],
        "issued",
        host.id,
    )
    assert store.tickets([]) == {}


def test_a_ticket_goes_from_issued_to_acknowledged_or_refused(store: Store, host: Host) -> None:
    """And never back."""
    store.issue(host, SUBMIT, [("a", ["disk", []]), ("r", ["disk", []])])
    store.acknowledged("a")
    store.refused("r", "fault -32602: no")
    store.refused("a", "late")
    store.acknowledged("r")
    found = store.tickets(["a", "r"])

    assert (found["a"][0].state, found["a"][0].refusal) == ("acknowledged", None)
    assert (found["r"][0].state, found["r"][0].refusal) == ("refused", "fault -32602: no")


def test_a_result_that_was_quicker_than_its_acknowledgement_stays(store: Store, host: Host) -> None:
    """The ticket is done, whatever is noted after."""
    store.issue(host, SUBMIT, [("t", ["disk", []])])
    redeem(store, delivery("t"))
    store.acknowledged("t")

    assert store.tickets(["t"])["t"][0].state == "done"


def test_a_reading_is_kept_with_what_it_belongs_to(store: Store, host: Host) -> None:
    """Sensor and arguments come from the ticket, never from the agent."""
    store.issue(host, SUBMIT, [("t", ["disk", ["/", "5"]])])
    redeem(store, delivery("t", "2.50"))
    reading = store.reading("t")

    assert reading is not None
    assert (reading.host, reading.sensor, reading.arguments) == ("web1", "disk", ["/", "5"])
    assert (reading.ret_code, reading.data, reading.error, reading.duration) == (0, "2.50", "", 0.5)
    assert reading.finished.replace(tzinfo=UTC) == WHEN
    assert store.reading("other") is None
    assert store.outcome("t") is None


def test_the_outcome_of_another_command_is_kept_as_it_came(store: Store, host: Host) -> None:
    """It is no reading."""
    store.issue(host, "cmd_status", [("t", [])])
    redeem(store, delivery("t", "fine", "cmd_status"))

    assert store.outcome("t") == {"status": "ok", "message": "fine"}
    assert (store.reading("t"), store.latest()) == (None, [])


def test_a_ticket_is_redeemed_once(store: Store, host: Host) -> None:
    """Whoever comes second changes nothing, also when both had looked before."""
    store.issue(host, SUBMIT, [("t", ["disk", []])])
    (ticket, _) = store.tickets(["t"])["t"]
    store.redeem([(ticket, delivery("t", "1"))])
    store.redeem([(ticket, delivery("t", "2"))])
    reading = store.reading("t")

    assert reading is not None
    assert reading.data == "1"
    assert store.tickets(["t"])["t"][0].fingerprint == b"1"


def test_threads_that_redeem_the_same_tickets_leave_one_row_each(store: Store, host: Host) -> None:
    """Four at once, a hundred tickets."""
    names = [f"t{number}" for number in range(100)]
    store.issue(host, SUBMIT, [(name, ["disk", [name]]) for name in names])
    found = store.tickets(names)
    errors: list[BaseException] = []

    def work(part: int) -> None:
        try:
            for start in range(0, 100, 10):
                store.redeem([(found[name][0], delivery(name, str(part))) for name in names[start : start + 10]])
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    assert len(store.latest()) == 100


def test_the_latest_reading_of_each_check_is_found(store: Store, host: Host) -> None:
    """Checks differ by host, sensor and arguments."""
    other = known_host(store, "other")
    checks = [
        ("1", host, "disk", ["/"]),
        ("2", host, "disk", ["/"]),
        ("3", host, "disk", ["/x"]),
        ("4", other, "disk", ["/"]),
    ]
    for ticket, owner, sensor, arguments in checks:
        store.issue(owner, SUBMIT, [(ticket, [sensor, arguments])])
        redeem(store, delivery(ticket, ticket))

    assert [(one.host, one.arguments, one.data) for one in store.latest()] == [
        ("other", ["/"], "4"), ("web1", ["/"], "2"), ("web1", ["/x"], "3"),
    ]  # fmt: skip


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """The database is a file."""
    url = f"sqlite:///{tmp_path}/monitor.db"
    first = Store(open_engine(url))
    host = known_host(first, "web1")
    first.issue(host, SUBMIT, [("t", ["disk", []])])
    redeem(first, delivery("t"))
    first.close()
    second = Store(open_engine(url))

    assert second.hosts() == [host]
    assert second.reading("t") is not None
    second.close()
