"""From the bytes of a call to the bytes of its answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.errors import BadArguments, Busy, Fault, TicketClash
from monagent.models import Value
from monagent.protocol import CAPABILITIES
from monagent.rpc import marshal, unmarshal
from monagent.rpc.dispatch import CALL_LIMIT, Deferred, Dispatcher, Method

SECRET = "the password is 1234"


class Bench:
    """A dispatcher with a few methods, and a record of what it settled."""

    def __init__(self) -> None:
        self.settled: list[list[Any]] = []
        self.peers: list[str] = []
        one = (("string",),)
        self.dispatcher = Dispatcher(
            [
                Method("echo", self.echo, "Gives back its arguments.", (("array", "string"), ("array",))),
                Method("later", lambda params, _peer: Deferred(params[0]), "Does it later.", one),
                Method("bug", self.bug, "Breaks.", one),
                Method("busy", self.busy, "Is busy.", one),
                Method("odd", lambda _params, _peer: object(), "Gives what cannot be carried.", one),  # type: ignore[arg-type,return-value]
            ],
            self.settle,
            CAPABILITIES,
        )

    def echo(self, params: list[Value], peer: str) -> Value:
        """Give back the arguments."""
        self.peers.append(peer)
        return params

    def bug(self, _params: list[Value], _peer: str) -> Value:
        """Raise what nobody expected."""
        raise RuntimeError(SECRET)

    def busy(self, _params: list[Value], _peer: str) -> Value:
        """Refuse."""
        raise Busy("try again later")

    def settle(self, works: list[Any]) -> Sequence[Value | Fault]:
        """Answer each piece of work; `clash` is refused, `bug` breaks all."""
        self.settled.append(works)
        if "bug" in works:
            raise RuntimeError(SECRET)
        return [TicketClash("used") if work == "clash" else f"done {work}" for work in works]

    def answer(self, body: bytes) -> Value:
        """What a client would get for these bytes."""
        return unmarshal.response(self.dispatcher.answer(body, "192.0.2.1"))

    def call(self, method: str, *params: Value) -> Value:
        """What a client would get for this call."""
        return self.answer(marshal.call(method, params))

    def fault(self, method: str, *params: Value) -> Fault:
        """The fault that a client would get for this call."""
        return self.fault_of(marshal.call(method, params))

    def fault_of(self, body: bytes) -> Fault:
        """The fault that a client would get for these bytes."""
        with pytest.raises(Fault) as caught:
            self.answer(body)
        return caught.value

    def multicall(self, *entries: Value) -> Any:
        """What a client would get for these entries of a multicall."""
        return self.call("system.multicall", list(entries))


@pytest.fixture
def bench() -> Bench:
    """A dispatcher under test."""
    return Bench()


def entry(method: str, *params: Value) -> Value:
    """An entry of a multicall."""
    return {"methodName": method, "params": list(params)}


def codes(answers: list[Any]) -> list[int | None]:
    """The fault code of each answer, None for a value."""
    return [answer["faultCode"] if isinstance(answer, dict) else None for answer in answers]


def test_a_call_gets_its_answer(bench: Bench) -> None:
    """The method sees the arguments and the caller's address."""
    answer = bench.call("echo", "a", 1, None)

    assert answer == ["a", 1, None]
    assert bench.peers == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"<methodCall>", -32700),
        (b"\xff\xfe<", -32700),
        (b"<a/>", -32600),
        (b"<methodCall/>", -32600),
        (b"<!DOCTYPE a><a/>", -32600),
        (b" " * (256 * 1024 + 1), -32600),
        (b"<methodResponse><params/></methodResponse>", -32600),
        (marshal.call("unknown", ()), -32601),
        (marshal.call("", ()), -32601),
        (marshal.call("Echo", ()), -32601),
        (marshal.call("echo ", ()), -32601),
        (marshal.call("__class__", ()), -32601),
        (marshal.call("system.multicall.x", ()), -32601),
        (marshal.call("system.listMethods", (1,)), -32602),
        (marshal.call("system.getCapabilities", ("x",)), -32602),
        (marshal.call("system.methodHelp", ()), -32602),
        (marshal.call("system.methodHelp", (1,)), -32602),
        (marshal.call("system.methodHelp", ("unknown",)), -32602),
        (marshal.call("system.methodSignature", ("echo", "echo")), -32602),
        (marshal.call("system.multicall", ()), -32602),
        (marshal.call("system.multicall", ("x",)), -32602),
        (marshal.call("system.multicall", ([], [])), -32602),
        (marshal.call("bug", ()), -32603),
        (marshal.call("odd", ()), -32603),
        (marshal.call("later", ()), -32603),
        (marshal.call("later", ("bug",)), -32603),
        (marshal.call("later", ("clash",)), -32001),
        (marshal.call("busy", ()), -32002),
    ],
)
def test_everything_that_goes_wrong_has_its_code(bench: Bench, body: bytes, code: int) -> None:
    """A caller can tell from the number what to do."""
    assert bench.fault_of(body).code == code


def test_a_fault_keeps_its_text(bench: Bench) -> None:
    """What a method says about its refusal arrives."""
    assert bench.fault("busy").message == "try again later"


def test_an_unknown_method_is_not_repeated(bench: Bench) -> None:
    """The fault's text is fixed, so that nobody can write into a log through it."""
    assert "evil" not in bench.fault("evil\nname").message


@pytest.mark.parametrize(("method", "params"), [("bug", ()), ("later", ("bug",))])
def test_a_bug_shows_an_incident_and_nothing_else(
    bench: Bench, caplog: pytest.LogCaptureFixture, method: str, params: tuple[Value, ...]
) -> None:
    """The same number stands in the log, beside the traceback that the caller does not get to see."""
    caplog.set_level(logging.INFO)
    fault = bench.fault(method, *params)
    found = re.fullmatch(r"internal error, incident ([0-9a-f]{8}); the log tells more", fault.message)

    assert found
    assert SECRET not in fault.message
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert found[1] in caplog.text
    assert f"RuntimeError: {SECRET}" in caplog.text


def test_each_bug_has_an_incident_of_its_own(bench: Bench) -> None:
    """Two bugs can be told apart."""
    assert bench.fault("bug").message != bench.fault("bug").message


def test_a_refusal_is_logged_with_its_caller(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each."""
    caplog.set_level(logging.INFO)
    bench.fault("busy")

    assert [record.getMessage() for record in caplog.records] == [
        "call refused peer=192.0.2.1 code=-32002 reason=try again later"
    ]


def test_deferred_work_of_one_call_is_settled_at_once(bench: Bench) -> None:
    """A single call settles its own piece."""
    assert bench.call("later", "x") == "done x"
    assert bench.settled == [["x"]]


def test_a_call_without_deferred_work_settles_nothing(bench: Bench) -> None:
    """No disk commit for a question."""
    bench.call("echo")
    bench.multicall(entry("echo"), entry("busy"))

    assert bench.settled == []


def test_a_multicall_settles_its_deferred_work_together(bench: Bench) -> None:
    """One commit for all, and each answer at its own place."""
    answers = bench.multicall(entry("later", "a"), entry("echo", 1), entry("later", "clash"), entry("later", "b"))

    assert bench.settled == [["a", "clash", "b"]]
    assert answers == [["done a"], [[1]], {"faultCode": -32001, "faultString": "used"}, ["done b"]]


def test_each_entry_is_judged_on_its_own(bench: Bench) -> None:
    """Bad entries get their fault, the others their answer."""
    answers = bench.multicall(
        entry("echo", "a"),
        entry("unknown"),
        entry("bug"),
        entry("busy"),
        entry("system.multicall", []),
        "text",
        {},
        {"methodName": "echo"},
        {"methodName": "echo", "params": "x"},
        {"methodName": 5, "params": []},
        {"methodName": "echo", "params": [], "more": 1},
        entry("echo", "z"),
    )

    assert codes(answers) == [
        None, -32601, -32603, -32002, -32602, -32602, -32602, None, -32602, -32602, -32602, None,
    ]  # fmt: skip
    assert (answers[0], answers[7], answers[-1]) == ([["a"]], [[]], [["z"]])
    assert SECRET not in str(answers)


def test_an_empty_multicall_has_an_empty_answer(bench: Bench) -> None:
    """Nothing asked, nothing answered."""
    assert bench.multicall() == []


def test_a_multicall_may_hold_as_many_calls_as_the_limit(bench: Bench) -> None:
    """All are answered."""
    assert len(bench.multicall(*[entry("later", "x")] * CALL_LIMIT)) == CALL_LIMIT
    assert [len(works) for works in bench.settled] == [CALL_LIMIT]


def test_one_call_over_the_limit_is_refused_as_a_whole(bench: Bench) -> None:
    """And none of them is carried out."""
    fault = bench.fault("system.multicall", [entry("later", "x")] * (CALL_LIMIT + 1))

    assert fault.code == -32600
    assert bench.settled == []


def test_a_bug_while_settling_is_one_incident(bench: Bench) -> None:
    """Nothing of a batch was stored, so the batch as a whole is the fault."""
    assert bench.fault("system.multicall", [entry("later", "a"), entry("later", "bug")]).code == -32603


def test_every_method_is_listed(bench: Bench) -> None:
    """In order, the introspection itself included."""
    names = bench.call("system.listMethods")

    assert names == [
        "bug", "busy", "echo", "later", "odd", "system.getCapabilities", "system.listMethods", "system.methodHelp",
        "system.methodSignature", "system.multicall",
    ]  # fmt: skip


def test_every_listed_method_describes_itself(bench: Bench) -> None:
    """Each has a help text, and signatures of type names."""
    names: Any = bench.call("system.listMethods")
    for name in names:
        signatures: Any = bench.call("system.methodSignature", name)

        assert bench.call("system.methodHelp", name)
        assert signatures
        assert all(isinstance(kind, str) for signature in signatures for kind in signature)


def test_signatures_are_those_of_the_method(bench: Bench) -> None:
    """The return type, then the parameters' types."""
    assert bench.call("system.methodSignature", "echo") == [["array", "string"], ["array"]]


def test_the_capabilities_name_the_extended_dialect(bench: Bench) -> None:
    """Beside the well-known ones."""
    capabilities: Any = bench.call("system.getCapabilities")

    assert {"xmlrpc", "introspect", "system.multicall", "nil", "monagent"} <= set(capabilities)
    assert all(set(one) == {"specUrl", "specVersion"} for one in capabilities.values())


def test_a_wrong_argument_names_no_python(bench: Bench) -> None:
    """A fault made by a method goes out as it is."""
    dispatcher = Dispatcher([Method("m", _refuse, "Refuses.", (("string",),))], lambda works: works, {})
    with pytest.raises(Fault, match=r"^no$") as caught:
        unmarshal.response(dispatcher.answer(marshal.call("m", ()), "x"))

    assert caught.value.code == -32602


def _refuse(_params: list[Value], _peer: str) -> Value:
    raise BadArguments("no")


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None, database=None)
def test_random_bytes_get_an_answer(data: bytes) -> None:
    """Whatever comes in, a well-formed fault goes out."""
    assert Bench().fault_of(data).code in (-32700, -32600)


def test_an_answer_that_cannot_be_written_does_not_take_the_others_with_it() -> None:
    """One method's bug is one fault in the answers of a multicall."""
    methods = [
        Method("good", lambda _params, _peer: "OK", "", ()),
        Method("bad", lambda _params, _peer: float("nan"), "", ()),
    ]
    dispatcher = Dispatcher(methods, list, {})
    entries: list[Value] = [{"methodName": name, "params": []} for name in ("good", "bad", "good")]
    answers = unmarshal.response(dispatcher.answer(marshal.call("system.multicall", [entries]), "127.0.0.1"))

    assert isinstance(answers, list)
    assert [answers[0], answers[2]] == [["OK"], ["OK"]]
    assert isinstance(answers[1], dict)
    assert answers[1]["faultCode"] == -32603
