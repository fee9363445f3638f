"""Tokens: made, kept, told from wrong ones."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import event, select, update

from monagent.cli.server_token import token
from monagent.errors import HttpRefusal, Refused
from monagent.server import tokens
from monagent.server.database import Database
from monagent.server.migrate import prepare
from monagent.server.schema import token as table
from monagent.server.tokens import Tokens
from monagent.server.web.admission import Admission
from monagent.server.web.tries import ADDRESSES, TRIES, Tries

NOW = 1_800_000_000.0
WRONG = tokens.PREFIX + "A" * 43


def used(database: Database) -> float | None:
    """When the only token was used, as it is kept."""
    with database.read() as db:
        return db.execute(select(table.c.used)).scalar_one()


def test_a_token_is_good_until_it_is_removed(database: Database) -> None:
    """And only its digest is kept."""
    made = tokens.add(database, "grafana", NOW)
    judge = Tokens(database, lambda: NOW)

    assert judge.knows(made)
    with database.read() as db:
        assert made not in str(db.execute(select(table)).all())
        assert [one.name for one in tokens.listing(db)] == ["grafana"]
    tokens.remove(database, "grafana")
    assert not judge.knows(made)


def test_what_is_no_token_is_not_one(database: Database) -> None:
    """Whatever is sent."""
    made = tokens.add(database, "grafana", NOW)
    judge = Tokens(database, lambda: NOW)

    for given in ("", "x", made[:-1], made + "A", made.upper(), WRONG, "ä" * 47, f"{made}\n", "\0" * 47, "' or 1=1 --"):
        assert not judge.knows(given)


def test_a_name_is_taken_once_and_must_be_one(database: Database) -> None:
    """Nothing changes, and the sentence says what to do."""
    tokens.add(database, "grafana", NOW)

    with pytest.raises(Refused, match=r"there is a token 'grafana' already; .*monserver token remove"):
        tokens.add(database, "grafana", NOW)
    for name in ("", "a b", "x" * 65, "<b>", "a\n"):
        with pytest.raises(Refused, match="is no name for a token"):
            tokens.add(database, name, NOW)
    with pytest.raises(Refused, match="there is no token 'prometheus'; monserver token list"):
        tokens.remove(database, "prometheus")
    with database.read() as db:
        assert len(tokens.listing(db)) == 1


def test_its_use_is_written_down_once_a_minute(database: Database) -> None:
    """However often it is used."""
    made = tokens.add(database, "grafana", NOW)
    now = [NOW]
    judge = Tokens(database, lambda: now[0])
    assert used(database) is None
    seen = []
    for seconds in (0.0, 1.0, 59.0, 60.0, 61.0, 3600.0):
        now[0] = NOW + seconds
        assert judge.knows(made)
        seen.append((used(database) or 0.0) - NOW)

    assert seen == [0.0, 0.0, 0.0, 60.0, 60.0, 3600.0]


def test_a_clock_that_was_ahead_does_not_hide_later_uses(database: Database) -> None:
    """It is set right again."""
    made = tokens.add(database, "grafana", NOW)
    with database.write() as db:
        db.execute(update(table).values(used=NOW + 86_400))

    assert Tokens(database, lambda: NOW).knows(made)
    assert used(database) == NOW


def test_a_full_disk_keeps_nobody_from_reading(tmp_path: Path) -> None:
    """That the use cannot be written down is no reason."""
    database = Database(f"sqlite:///{tmp_path}/store.db")
    prepare(database)
    made = tokens.add(database, "grafana", NOW)

    @event.listens_for(database.engine, "checkout")
    def _read_only(connection: object, *_: object) -> None:
        connection.execute("pragma query_only = on")  # type: ignore[attr-defined]

    assert Tokens(database, lambda: NOW).knows(made)
    assert used(database) is None
    database.close()


def test_twenty_wrong_tokens_a_minute_are_enough() -> None:
    """Then there is a minute's wait, for that address alone."""
    tries = Tries()
    blocked = [tries.note_wrong("192.0.2.1", float(second)) for second in range(TRIES)]

    assert blocked == [False] * (TRIES - 1) + [True]
    assert tries.wait("192.0.2.1", 19.0) == 60.0
    assert tries.wait("192.0.2.2", 19.0) == 0.0
    assert tries.wait("192.0.2.1", 78.9) > 0
    assert tries.wait("192.0.2.1", 79.0) == 0.0
    assert not tries.note_wrong("192.0.2.1", 80.0)


def test_wrong_tokens_now_and_then_are_forgiven() -> None:
    """Nineteen a minute, for ever."""
    tries = Tries()

    assert not any(tries.note_wrong("192.0.2.1", number * 60.1 / (TRIES - 1)) for number in range(200))


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    """Whoever has it has all its addresses."""
    tries = Tries()
    for number in range(TRIES):
        tries.note_wrong(f"2001:db8::{number:x}", 0.0)

    assert tries.wait("2001:db8::ffff", 1.0) > 0
    assert tries.wait("2001:db8:0:1::1", 1.0) == 0.0


def test_many_addresses_cost_no_more_memory() -> None:
    """The oldest are forgotten."""
    tries = Tries()
    for number in range(ADDRESSES + 500):
        tries.note_wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)

    assert len(tries._wrong) == ADDRESSES


def test_who_tried_too_often_is_not_heard_even_with_a_good_token(database: Database) -> None:
    """429 for a minute, and when to come again."""
    made = tokens.add(database, "grafana", NOW)
    now = [0.0]
    admission = Admission(Tokens(database, time.time), lambda _: "192.0.2.1", [], lambda: now[0])
    for _ in range(TRIES):
        with pytest.raises(HttpRefusal, match="403"):
            admission.check_token({"HTTP_AUTHORIZATION": f"Bearer {WRONG}"})
    with pytest.raises(HttpRefusal, match="429") as refused:
        admission.check_token({"HTTP_AUTHORIZATION": f"Bearer {made}"})

    assert dict(refused.value.headers) == {"Retry-After": "61"}
    assert admission.refused == {"wrong": TRIES, "often": 1}
    now[0] = 60.0
    admission.check_token({"HTTP_AUTHORIZATION": f"bearer {made}"})


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic Z3JhZmFuYTp4", "mon_x"])
def test_who_brings_no_token_is_told_how(header: str | None, tmp_path: Path) -> None:
    """401 with a challenge; it is no wrong try, and the database is not asked."""
    nowhere = Database(f"sqlite:///{tmp_path}/no/such/directory.db")
    admission = Admission(Tokens(nowhere, time.time), lambda _: "192.0.2.1", [])
    for _ in range(TRIES + 1):
        with pytest.raises(HttpRefusal, match="401") as refused:
            admission.check_token({} if header is None else {"HTTP_AUTHORIZATION": header})

    assert refused.value.headers == (("WWW-Authenticate", 'Bearer realm="monagent"'),)


def test_the_command_line_makes_shows_and_removes_them(tmp_path: Path) -> None:
    """The token goes to stdout, once; what there is to say to stderr."""
    config = tmp_path / "server.cfg"
    config.touch()

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(token, [*arguments, "-c", str(config)])

    made, listed, told = run("add", "grafana"), run("list", "--json"), run("list")
    database = Database(f"sqlite:///{tmp_path}/monitor.db")

    assert Tokens(database, lambda: NOW).knows(made.stdout.strip())
    assert made.stderr == "this token is not shown again; monserver token remove grafana takes it away\n"
    assert [(one["name"], one["used"]) for one in json.loads(listed.stdout)] == [("grafana", None)]
    assert told.stdout.split()[:4] == ["NAME", "CREATED", "USED", "grafana"]
    assert run("remove", "grafana").exit_code == 0
    assert isinstance(run("remove", "grafana").exception, Refused)
    assert run("list").stderr == "there are no tokens; monserver token add NAME makes one\n"
    database.close()
