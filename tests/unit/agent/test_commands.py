"""The built-in commands: what each takes, does and leaves behind, with real sensors."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monagent.agent import commands
from monagent.agent.commands import list_sensors, status, submit_reading
from monagent.agent.commands.kind import Tools
from monagent.errors import BadArguments, Refused
from monagent.models import NAGIOS, Command, Job, Outcome, RunResult
from monagent.protocol import number_in
from monagent.rpc import marshal
from monagent.sensors.inventory import Installed
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.runner import Runner
from monagent.sensors.store import SensorDefaults, SensorOverride, SensorStore
from tests.unit.agent.parts import tools

Install = Callable[..., None]


@pytest.fixture
def sensors(tmp_path: Path) -> Path:
    """The directory of the sensors."""
    directory = tmp_path / "sensors"
    directory.mkdir()
    return directory


@pytest.fixture
def install(sensors: Path) -> Install:
    """Installs a sensor written in shell."""

    def install(name: str, script: str) -> None:
        program = sensors / name / "check"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return install


@pytest.fixture
def real(sensors: Path) -> Tools:
    """Tools with a real runner."""
    return tools(sensors, Runner().run, {"version": "1", "uptime": 2.5, "sensors": []})


@pytest.fixture
def nagios(real: Tools, sensors: Path) -> Tools:
    """The same tools; the sensor `plugin` is a Nagios-style one."""
    overrides = {"plugin": SensorOverride(format=NAGIOS)}
    return dataclasses.replace(real, sensors=SensorStore(SensorDefaults(sensors, timeout=10.0), overrides))


# -- the list of commands -----------------------------------------------------------------------------------------


def test_every_command_module_is_found_by_its_name_on_the_wire() -> None:
    """And each can tell how it is called."""
    kinds = commands.load()

    assert {"cmd_submit_reading", "cmd_list_sensors", "cmd_status"} <= set(kinds)
    for name, kind in kinds.items():
        assert kind.method == name
        assert kind.help
        assert kind.signatures
        assert kind.usage.startswith(f"{name}(ticket" if kind.ticketed else f"{name}(")


@pytest.mark.parametrize("method", sorted(commands.load()))
def test_every_command_can_say_that_it_failed(method: str) -> None:
    """The outcome can be put on the wire."""
    outcome = commands.load()[method].failed("a sentence")

    assert "a sentence" in str(outcome)
    assert marshal.value(outcome)


@pytest.mark.parametrize("method", ["cmd_list_sensors", "cmd_status"])
def test_commands_without_arguments_take_none(real: Tools, method: str) -> None:
    """Not even nil."""
    kind = commands.load()[method]

    assert kind.check([], real) == []
    wrong: list[list[Any]] = [[None], ["x"], [[]]]
    for more in wrong:
        with pytest.raises(BadArguments):
            kind.check(more, real)


# -- cmd_submit_reading: its arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ([], []),
        ([None], []),
        ([[]], []),
        ([""], []),
        (["   "], []),
        ([["a", "b c", ""]], ["a", "b c", ""]),
        ([[1, -2, 2.5, 1e300, "x"]], ["1", "-2", "2.5", "1e+300", "x"]),
        (["a 'b c' \"d e\" f\\ g ''"], ["a", "b c", "d e", "f g", ""]),
        (["$HOME `id` $(id) * ~ ; | > x & \\\\"], ["$HOME", "`id`", "$(id)", "*", "~", ";", "|", ">", "x", "&", "\\"]),
        (["# no comment"], ["#", "no", "comment"]),
        (['--flag="a b"'], ["--flag=a b"]),
    ],
)
def test_arguments_have_one_canonical_form(
    real: Tools, install: Install, given_: list[Any], canonical: list[str]
) -> None:
    """An array is taken as it is; a text is split as a shell would, without any expansion."""
    install("echo", "")

    assert submit_reading.check(["echo", *given_], real) == ["echo", canonical]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [1],
        [None],
        [["echo"]],
        ["nothing"],
        ["../echo"],
        ["echo/"],
        [""],
        ["echo", ["x"], "y"],
        ["echo", 5],
        ["echo", 1.5],
        ["echo", True],
        ["echo", {"a": "b"}],
        ["echo", b"x"],
        ["echo", [None]],
        ["echo", [True]],
        ["echo", [["x"]]],
        ["echo", [b"x"]],
        ["echo", "an 'unbalanced quote"],
        ["echo", "a trailing \\"],
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused(real: Tools, install: Install, wrong: list[Any]) -> None:
    """Count, type, name and quotes."""
    install("echo", "")

    with pytest.raises(BadArguments):
        submit_reading.check(wrong, real)


# -- cmd_submit_reading: its reading ------------------------------------------------------------------------------


def submit(real: Tools, name: str, *arguments: str) -> Outcome:
    """Run a sensor as the command does."""
    return submit_reading.perform(Job(1, Command("t", "cmd_submit_reading", [name, list(arguments)])), real)


def test_a_reading_tells_all_about_its_run(real: Tools, install: Install) -> None:
    """And it can be put on the wire."""
    install("full", 'echo " $1 "; echo grumble >&2')
    before = time.time()
    outcome = submit(real, "full", "2.50")

    assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (0, "2.50", "")
    assert (outcome["stderr"], outcome["metrics"]) == ("grumble\n", [])
    assert before - 1 <= outcome["started"] <= time.time() + 1
    assert 0 < outcome["duration"] < 10
    assert marshal.value(outcome)


@pytest.mark.parametrize(
    "printed",
    ["0", "5", "-5", "+5", "007", "1.", ".5", "-0.0", "1e3", "1E-30", "123456789012345678901234567890", "3.14000"],
)
def test_a_number_is_handed_in_as_it_was_printed(real: Tools, install: Install, printed: str) -> None:
    """No digit is lost or added; only blanks around it go."""
    install("print", "printf ' %s\\r\\n\\n' \"$1\"")

    assert (submit(real, "print", printed)["data"], submit(real, "print", printed)["error"]) == (printed, "")


@pytest.mark.parametrize(
    "printed",
    [
        "", " ", "nan", "NaN", "inf", "-Infinity", "1e999", "-1e999", "1 2", "1\\n2", "OK", "5%", "5 MB", "1,5",
        "0x10", "1_000", "--5", "5-", "e5", "1e", ".", "+", "1\\0002", "\\377", "\\331\\245", "\\357\\274\\225", "5;",
    ],
)  # fmt: skip
def test_whatever_is_not_one_finite_number_is_nan(real: Tools, install: Install, printed: str) -> None:
    """And the reading says why."""
    install("print", f"printf -- '{printed.replace('%', '%%')}'")
    outcome = submit(real, "print")

    assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (0, "nan", "not-a-number")


@pytest.mark.parametrize(
    ("script", "code", "data", "error"),
    [
        pytest.param("echo 5; exit 2", 2, "5", "", id="exit code"),
        pytest.param("exit 2", 2, "nan", "not-a-number", id="exit code and no number"),
        pytest.param("echo 5; kill -15 $$", -15, "5", "signal", id="signal"),
        pytest.param("echo 5; exec head -c 70000 /dev/zero", 0, "nan", "output-too-long", id="flood"),
        pytest.param("echo 5; sleep 60", -9, "nan", "timeout", id="time-out"),
    ],
)
def test_an_end_that_is_not_good_is_told(
    sensors: Path, install: Install, script: str, code: int, data: str, error: str
) -> None:
    """A number printed before it is handed in where the run itself can be trusted."""
    install("bad", script)
    real = tools(sensors, Runner().run)
    hasty = tools(sensors, real.run, store=_hasty(sensors)) if error == "timeout" else real
    outcome = submit(hasty, "bad")

    assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (code, data, error)


def _hasty(sensors: Path) -> Any:
    from monagent.sensors.store import SensorDefaults, SensorStore  # noqa: PLC0415 - for this one case

    return SensorStore(SensorDefaults(sensors, timeout=0.3), {})


def test_a_sensor_that_went_between_acceptance_and_run_is_a_reading(
    real: Tools, install: Install, sensors: Path
) -> None:
    """127 for a directory that is gone as for a program that is."""
    install("fleeting", "echo 5")
    submit_reading.check(["fleeting"], real)
    (sensors / "fleeting" / "check").unlink()
    without_program = submit(real, "fleeting")
    (sensors / "fleeting").rmdir()
    without_directory = submit(real, "fleeting")

    for outcome in (without_program, without_directory):
        assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (127, "nan", "not-found")
        assert outcome["stderr"]


def test_a_sensor_that_cannot_be_executed_is_a_reading(real: Tools, install: Install, sensors: Path) -> None:
    """126."""
    install("locked", "echo 5")
    (sensors / "locked" / "check").chmod(0o644)
    outcome = submit(real, "locked")

    assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (126, "nan", "not-executable")


def test_a_check_that_failed_inside_the_agent_is_a_reading_too() -> None:
    """So that its ticket ends like any other."""
    outcome = submit_reading.failed("internal error, incident 1")

    assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (126, "nan", "not-executable")
    assert outcome["stderr"] == "internal error, incident 1"


def test_stderr_that_is_no_text_can_still_be_handed_in(real: Tools, install: Install) -> None:
    """Escape sequences and broken UTF-8 make a document that every client can read."""
    install("noisy", r"printf '\033[31m\377\000' >&2; echo 5")
    outcome = submit(real, "noisy")

    assert outcome["data"] == "5"
    assert "\x1b" not in marshal.value(outcome)


@given(st.binary(max_size=40))
@example(b"1" * 5000)
@example(b"\xd9\xa5")
@example(b"1e" + b"9" * 400)
def test_no_output_whatever_can_break_a_reading(printed: bytes) -> None:
    """The data is nan or a finite number that Python reads, and always text for the wire."""
    outcome = submit_reading.reading(RunResult(0, printed, printed, "", 0.0, 0.0))
    number = number_in(printed)

    assert outcome["data"] == (number or "nan")
    assert (outcome["error"] == "") == (number is not None)
    if number is not None:
        assert abs(float(number)) < float("inf")
    assert marshal.value(outcome)


# -- cmd_submit_reading: Nagios-style plug-ins --------------------------------------------------------------------

PRINTED = "DISK WARNING - / 81 MB | '/ it''s'=2.50MB;~:10;@20:30;0;90.5 b=U;;;;\\nlong text | c=7%%\\n"


def test_a_plug_in_hands_in_its_first_value_and_all_it_printed(nagios: Tools, install: Install) -> None:
    """Its exit code, its metrics, and what it says to people before what it says on stderr."""
    install("plugin", f"""printf "{PRINTED}"; echo grumble >&2; exit 1""")
    outcome = submit(nagios, "plugin")

    assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (1, "2.50", "")
    assert outcome["stderr"] == "DISK WARNING - / 81 MB\nlong text\ngrumble\n"
    assert outcome["metrics"] == [
        {"label": "/ it's", "value": 2.5, "unit": "MB", "warn": "~:10", "crit": "@20:30", "min": 0.0, "max": 90.5},
        {"label": "b", "value": None, "unit": "", "warn": "", "crit": "", "min": None, "max": None},
        {"label": "c", "value": 7.0, "unit": "%", "warn": "", "crit": "", "min": None, "max": None},
    ]
    assert json.loads(json.dumps(outcome)) == outcome
    assert marshal.value(outcome).count("<nil/>") == 5


@pytest.mark.parametrize("code", range(5))
def test_the_code_of_a_plug_in_goes_back_as_it_is(nagios: Tools, install: Install, code: int) -> None:
    """0 to 3 have their meanings; others are told, too."""
    install("plugin", f"echo 'fine | a=1'; exit {code}")

    assert (submit(nagios, "plugin")["ret_code"], submit(nagios, "plugin")["data"]) == (code, "1")


@pytest.mark.parametrize("printed", ["", "OK", "5", "OK | nothing", "OK | a=U b=3", "OK | a=1,5 b=3"])
def test_a_plug_in_without_a_first_value_has_no_number(nagios: Tools, install: Install, printed: str) -> None:
    """And its reading says so. A later value does not take the place of the first."""
    install("plugin", f"echo '{printed}'")
    outcome = submit(nagios, "plugin")

    assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (0, "nan", "not-a-number")
    assert outcome["stderr"] == printed.partition(" |")[0]


@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        pytest.param("kill -15 $$", -15, "signal", id="signal"),
        pytest.param("exec head -c 70000 /dev/zero", 0, "output-too-long", id="flood"),
        pytest.param("sleep 60", -9, "timeout", id="time-out"),
    ],
)
def test_nothing_of_a_plug_in_that_was_cut_short_is_trusted(
    nagios: Tools, sensors: Path, install: Install, script: str, code: int, error: str
) -> None:
    """Neither its number nor its metrics; what it said until then is handed in."""
    install("plugin", f"echo 'so far | a=1'; {script}")
    store = SensorStore(SensorDefaults(sensors), {"plugin": SensorOverride(format=NAGIOS, timeout=0.5)})
    outcome = submit(dataclasses.replace(nagios, sensors=store), "plugin")

    assert (outcome["ret_code"], outcome["data"], outcome["error"]) == (code, "nan", error)
    assert outcome["metrics"] == []
    assert outcome["stderr"].startswith("so far")


def test_a_plug_in_that_is_gone_or_cannot_be_executed_is_a_reading(
    nagios: Tools, install: Install, sensors: Path
) -> None:
    """As for any other sensor."""
    install("plugin", "")
    (sensors / "plugin" / "check").chmod(0o644)
    locked = submit(nagios, "plugin")
    (sensors / "plugin" / "check").unlink()
    without_program = submit(nagios, "plugin")
    (sensors / "plugin").rmdir()
    without_directory = submit(nagios, "plugin")

    assert [one["error"] for one in (locked, without_program, without_directory)] == [
        "not-executable",
        "not-found",
        "not-found",
    ]
    for outcome in (locked, without_program, without_directory):
        assert (outcome["data"], outcome["metrics"]) == ("nan", [])
        assert outcome["stderr"]


def test_what_a_plug_in_says_is_cut_at_its_limit() -> None:
    """4096 bytes, and no character is torn apart; its own stderr comes last."""
    long = submit_reading.reading(RunResult(0, b"x" + "ä".encode() * 4000, b"grumble", "", 0.0, 0.0), NAGIOS)
    short = submit_reading.reading(RunResult(0, b"x" * 4090 + b" | a=1", b"grumble", "", 0.0, 0.0), NAGIOS)
    silent = submit_reading.reading(RunResult(0, b" | a=1", b"grumble\n", "", 0.0, 0.0), NAGIOS)

    assert long["stderr"] == "x" + "ä" * 2047
    assert short["stderr"] == "x" * 4090 + "\ngrumb"
    assert silent["stderr"] == "grumble\n"


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(" '=;|:@~%,.U01eE-ab\n").map(str.encode)), st.binary(max_size=40))
@example(b"\xff|\xff=1 a=2", b"\xff" * 4096)
def test_no_output_whatever_can_break_the_reading_of_a_plug_in(printed: bytes, complaint: bytes) -> None:
    """It can be kept, put on the wire, and its data is nan or a number."""
    outcome = submit_reading.reading(RunResult(0, printed, complaint, "", 0.0, 0.0), NAGIOS)

    assert marshal.value(outcome)
    assert json.loads(json.dumps(outcome)) == outcome
    assert len(outcome["stderr"].encode()) <= 4096
    assert (outcome["data"] == "nan") == (outcome["error"] == "not-a-number")
    assert outcome["data"] == "nan" or number_in(outcome["data"].encode()) == outcome["data"]


# -- cmd_list_sensors ---------------------------------------------------------------------------------------------


def test_the_list_holds_every_sensor_with_its_help(real: Tools, install: Install, sensors: Path) -> None:
    """A sensor that cannot tell is listed, with the reason."""
    install("good", '[ "$1" = options ] && echo "  good USE\n  it " || echo 5')
    install("angry", "exit 3")
    (sensors / "empty").mkdir()
    outcome = list_sensors.perform(Job(1, Command("t", "cmd_list_sensors", [])), real)

    assert outcome.pop("installed") == {name: real.sensors.installed(name).as_value() for name in outcome["sensors"]}
    assert outcome == {
        "status": "ok",
        "message": "3 sensors",
        "sensors": {
            "angry": "(no help: it ended with 3)",
            "empty": "(no help: not-found)",
            "good": "good USE\n  it",
        },
    }
    assert list_sensors.direct(real) == outcome["sensors"]


def test_a_version_in_the_list_is_a_whole_one(sensors: Path, install: Install) -> None:
    """No swap can come while its files are read."""
    occupancy = Occupancy()
    asked: list[str] = []

    class Store(SensorStore):
        def installed(self, name: str) -> Installed:
            with pytest.raises(Refused, match="in use"), occupancy.alone(Path(self.directory(name)), 0):
                pass
            asked.append(name)
            return super().installed(name)

    install("a", "echo help")
    install("b", "echo help")
    real = tools(sensors, Runner().run, store=Store(SensorDefaults(sensors, timeout=10.0), {}), occupancy=occupancy)
    outcome = list_sensors.perform(Job(1, Command("t", "cmd_list_sensors", [])), real)

    assert asked == ["a", "b"]
    assert {one["digest"][:7] for one in outcome["installed"].values()} == {"sha256:"}


def test_a_long_help_is_cut_and_no_name_is_lost(sensors: Path, install: Install) -> None:
    """Neither a single text nor all together outgrow what a result may hold."""
    for number in range(100):
        install(f"s{number}", "")
    chatty = tools(sensors, lambda run: RunResult(0, b"x" * run.output_limit, b"", "", 0.0, 0.0))
    texts = list_sensors.help_texts(chatty, 20)

    assert len(texts) == 100
    assert sum(map(len, texts.values())) <= list_sensors.TOTAL_LIMIT
    assert max(map(len, texts.values())) <= list_sensors.HELP_LIMIT


def test_a_sensor_that_hangs_on_its_help_costs_seconds_at_most(
    real: Tools, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are asked all the same."""
    monkeypatch.setattr(list_sensors, "HELP_SECONDS", 0.3)
    install("a", "sleep 60")
    install("b", "echo help")

    assert list_sensors.help_texts(real, 20) == {"a": "(no help: timeout)", "b": "help"}


@pytest.mark.parametrize(
    ("code", "told"), [(0, "how to use it"), (3, "how to use it"), (2, "(no help: it ended with 2)")]
)
def test_the_help_of_a_plug_in_is_asked_for_in_its_own_way(
    nagios: Tools, install: Install, code: int, told: str
) -> None:
    """`--help`, after which plug-ins end with 3 by their guidelines; a sensor is asked as ever."""
    install("plugin", f'[ "$1" = --help ] && echo "how to use it" && exit {code}; exit 9')
    install("sensor", '[ "$1" = options ] && echo "sensor NUMBER"')

    assert list_sensors.direct(nagios) == {"plugin": told, "sensor": "sensor NUMBER"}


def test_no_sensors_are_an_empty_list(real: Tools) -> None:
    """That is a good outcome."""
    outcome = list_sensors.perform(Job(1, Command("t", "cmd_list_sensors", [])), real)

    assert outcome == {"status": "ok", "message": "0 sensors", "sensors": {}, "installed": {}}


# -- cmd_status ---------------------------------------------------------------------------------------------------


def test_the_status_holds_the_agents_figures(real: Tools) -> None:
    """Beside the two members that every outcome has."""
    outcome = status.perform(Job(1, Command("t", "cmd_status", [])), real)

    assert outcome == {"status": "ok", "message": "the agent is running", "version": "1", "uptime": 2.5, "sensors": []}
