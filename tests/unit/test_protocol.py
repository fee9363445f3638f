"""Names and shapes on the wire."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.errors import BadArguments
from monagent.models import Command, Outcome, Result, Ticket, Value
from monagent.protocol import (
    PATHS,
    callback,
    command_result_from_wire,
    number_in,
    probe_from_wire,
    ticket_from_wire,
    ticket_key,
)
from monagent.rpc import marshal, unmarshal

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DETAILS: dict[str, Any] = {"started": NOON, "duration": 0.5, "error": "", "stderr": "", "metrics": []}
READING: Outcome = {"ret_code": 0, "data": "1.50", **DETAILS, "started": NOON.timestamp()}
QUICK = settings(max_examples=150, deadline=None, database=None)


def result(ticket: Ticket, method: str, outcome: Outcome) -> Result:
    """A finished command."""
    return Result(
        id=1, command=Command(ticket, method, []), outcome=outcome, finished=NOON.timestamp(), attempts=0, size=1
    )


def test_the_paths_are_those_of_the_contract() -> None:
    """Other programs rely on them."""
    assert {"/xmlrpc/", "/RPC2"} <= set(PATHS)


# -- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"0", "0"),
        (b"0.42\n", "0.42"),
        (b"  -1.5e-3 \r\n", "-1.5e-3"),
        (b"+7", "+7"),
        (b".5", ".5"),
        (b"5.", "5."),
        (b"007", "007"),
        (b"1E5", "1E5"),
        (b"9" * 200, "9" * 200),
    ],
)
def test_the_number_stays_as_it_was_printed(output: bytes, text: str) -> None:
    """Stripped, and otherwise untouched."""
    assert number_in(output) == text


@pytest.mark.parametrize(
    "output",
    [
        b"", b" \n", b"one", b"1 2", b"1\n2", b"1,5", b"1_000", b"0x10", b"1e", b".", b"-", b"--1", b"+-1", b"nan", b"NaN", b"inf", b"-inf",
        b"Infinity", b"1e999", b"-1e999", b"9" * 400, b"1%", b"1 s", b"\xff", b"1\0", b"\xd9\xa3", "\uff11".encode(), b"1\xc2\xa0", b"1;2", b"True",
    ],
)  # fmt: skip
def test_what_is_not_just_one_finite_number_is_none(output: bytes) -> None:
    """Nothing is guessed from it."""
    assert number_in(output) is None


@given(st.binary(max_size=30) | st.text("0123456789.eE+- \n", max_size=12).map(str.encode))
@QUICK
def test_an_accepted_number_is_finite(output: bytes) -> None:
    """Whatever is printed, what goes on is a number that everybody reads alike."""
    text = number_in(output)

    assert text is None or (math.isfinite(float(text)) and text.isascii() and text == text.strip())


# -- tickets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ticket", [0, -1, 2**63 - 1, -(2**63), "a", " ", "~", "x" * 128, "5", "<&>", "a b"])
def test_good_tickets_are_taken_as_they_are(ticket: Ticket) -> None:
    """An integer stays an integer."""
    taken = ticket_from_wire(ticket)

    assert (type(ticket), ticket) == (type(taken), taken)


@pytest.mark.parametrize(
    "ticket",
    [
        None,
        True,
        False,
        1.0,
        "",
        "x" * 129,
        "é",
        "a\n",
        "a\tb",
        "\x7f",
        "\0",
        2**63,
        -(2**63) - 1,
        b"a",
        [],
        ["a"],
        {},
        NOON,
    ],
)
def test_bad_tickets_are_refused(ticket: Value) -> None:
    """With the fault that the contract gives them."""
    with pytest.raises(BadArguments) as caught:
        ticket_from_wire(ticket)

    assert caught.value.code == -32602


@pytest.mark.parametrize("number", [0, 5, -5, 2**63 - 1])
def test_an_integer_and_its_decimal_string_are_one_ticket(number: int) -> None:
    """Under one key."""
    assert ticket_key(number) == ticket_key(str(number))


@pytest.mark.parametrize(("one", "other"), [(5, "05"), (5, "+5"), (5, " 5"), ("a", "A"), (5, -5)])
def test_other_spellings_are_other_tickets(one: Ticket, other: Ticket) -> None:
    """Only the decimal string counts."""
    assert ticket_key(one) != ticket_key(other)


# -- callbacks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ticket", [7, "7", "a b"])
def test_a_plain_server_gets_two_members(ticket: Ticket) -> None:
    """The original dialect, with the ticket exactly as it came."""
    method, params = callback(result(ticket, "cmd_submit_reading", READING), extended=False)

    assert method == "cmd_store_probe_data"
    assert repr(params) == repr([ticket, [0, "1.50"], NOON])


def test_an_extended_server_gets_the_details_too() -> None:
    """In a third member."""
    _, params = callback(result(7, "cmd_submit_reading", READING), extended=True)

    assert params == [7, [0, "1.50", DETAILS], NOON]


@pytest.mark.parametrize("extended", [False, True])
def test_other_results_carry_the_commands_name(extended: bool) -> None:
    """Without its cmd_."""
    outcome = {"status": "ok", "message": "done", "sensors": {}}
    call = callback(result("t", "cmd_list_sensors", outcome), extended=extended)

    assert call == ("cmd_store_command_result", ["t", "list_sensors", outcome, NOON])


@pytest.mark.parametrize("extended", [False, True])
@given(
    ticket=st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=128),
    ret_code=st.integers(-64, 255),
    data=st.just("nan") | st.integers().map(str) | st.floats(allow_nan=False, allow_infinity=False).map(repr),
    stderr=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20),
)
@QUICK
def test_what_the_agent_sends_the_server_reads(
    extended: bool, ticket: Ticket, ret_code: int, data: str, stderr: str
) -> None:
    """Over the wire, in both dialects."""
    outcome = {**READING, "ret_code": ret_code, "data": data, "stderr": stderr}
    method, params = callback(result(ticket, "cmd_submit_reading", outcome), extended=extended)
    _, arrived = unmarshal.call(marshal.call(method, params))
    taken, read, when = probe_from_wire(arrived)

    assert (type(ticket), ticket, when) == (type(taken), taken, NOON)
    assert read == ({**outcome, "started": NOON} if extended else {"ret_code": ret_code, "data": data})


# -- the server's side --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        [],
        [1, [0, "1"]],
        [1, [0, "1"], NOON, 1],
        [None, [0, "1"], NOON],
        ["", [0, "1"], NOON],
        [True, [0, "1"], NOON],
        [1, "0", NOON],
        [1, [], NOON],
        [1, [0], NOON],
        [1, [0, "1", {}, {}], NOON],
        [1, ["0", "1"], NOON],
        [1, [True, "1"], NOON],
        [1, [0.0, "1"], NOON],
        [1, [0, 1], NOON],
        [1, [0, 1.5], NOON],
        [1, [0, None], NOON],
        [1, [0, "one"], NOON],
        [1, [0, ""], NOON],
        [1, [0, "NaN"], NOON],
        [1, [0, "inf"], NOON],
        [1, [0, "1 2"], NOON],
        [1, [0, "é"], NOON],
        [1, [0, "1"], "20261122T12:00:00"],
        [1, [0, "1"], 5],
        [1, [0, "1"], None],
        [1, [0, "1", None], NOON],
        [1, [0, "1", []], NOON],
        [1, [0, "1", {"started": 5}], NOON],
        [1, [0, "1", {"duration": "5"}], NOON],
        [1, [0, "1", {"error": None}], NOON],
        [1, [0, "1", {"stderr": b"x"}], NOON],
        [1, [0, "1", {"metrics": {}}], NOON],
    ],
)
def test_a_reading_of_another_shape_is_refused(params: list[Value]) -> None:
    """With the fault for wrong arguments."""
    with pytest.raises(BadArguments):
        probe_from_wire(params)


def test_a_plain_reading_is_read() -> None:
    """The original dialect."""
    assert probe_from_wire([1, [-9, "nan"], NOON]) == (1, {"ret_code": -9, "data": "nan"}, NOON)


def test_details_nobody_knows_are_left_out() -> None:
    """A newer agent may say more."""
    assert probe_from_wire(["a", [0, "1", {"error": "", "new": 1}], NOON])[1] == {
        "ret_code": 0,
        "data": "1",
        "error": "",
    }


def test_a_command_result_is_read() -> None:
    """With whatever members its command has."""
    outcome: Value = {"status": "error", "message": "no", "more": [1]}

    assert command_result_from_wire([5, "list_sensors", outcome, NOON]) == (5, "list_sensors", outcome, NOON)


@pytest.mark.parametrize(
    "params",
    [
        [],
        [1, "m", {"status": "ok", "message": ""}],
        [1, "m", {"status": "ok", "message": ""}, NOON, 1],
        [None, "m", {"status": "ok", "message": ""}, NOON],
        [1, 5, {"status": "ok", "message": ""}, NOON],
        [1, "m", [], NOON],
        [1, "m", {}, NOON],
        [1, "m", {"status": "ok"}, NOON],
        [1, "m", {"message": ""}, NOON],
        [1, "m", {"status": "fine", "message": ""}, NOON],
        [1, "m", {"status": ["ok"], "message": ""}, NOON],
        [1, "m", {"status": "ok", "message": 5}, NOON],
        [1, "m", {"status": "ok", "message": ""}, "now"],
    ],
)
def test_a_command_result_of_another_shape_is_refused(params: list[Value]) -> None:
    """With the fault for wrong arguments."""
    with pytest.raises(BadArguments):
        command_result_from_wire(params)
