"""What plug-ins print, taken apart: text for people, and performance data."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monagent.sensors.perfdata import LABEL_LIMIT, METRICS, Metric, parse

MIB = 1024 * 1024


def metric(label: str, text: str, unit: str = "", warn: str = "", crit: str = "", **ends: float) -> Metric:
    """What an item with that value must become."""
    value = None if text == "U" else float(text)
    return Metric(label, text, value, unit, warn, crit, ends.get("min"), ends.get("max"))


def items(data: str) -> tuple[Metric, ...]:
    """The items of one line of performance data."""
    return parse(f"OK | {data}").metrics


# -- what real plug-ins print (monitoring-plugins 2.3.3) ----------------------------------------------------------

REAL: dict[str, tuple[str, str, list[Metric]]] = {
    "check_load": (
        (
            "LOAD OK - total load average: 0.03, 0.09, 0.48|load1=0.030;5.000;10.000;0; load5=0.090;4.000;6.000;0; "
            "load15=0.480;3.000;4.000;0; \n"
        ),
        "LOAD OK - total load average: 0.03, 0.09, 0.48",
        [
            metric("load1", "0.030", "", "5.000", "10.000", min=0),
            metric("load5", "0.090", "", "4.000", "6.000", min=0),
            metric("load15", "0.480", "", "3.000", "4.000", min=0),
        ],
    ),
    "check_disk": (
        (
            "DISK OK - free space: /dev 12045MiB (100% inode=99%); / 80241MiB (77% inode=97%);| "
            "/dev=0B;11367088128;11998593024;0;12630097920 /=24805113856B;243497277849;257024904396;0;270552530944\n"
        ),
        "DISK OK - free space: /dev 12045MiB (100% inode=99%); / 80241MiB (77% inode=97%);",
        [
            metric("/dev", "0", "B", "11367088128", "11998593024", min=0, max=12630097920),
            metric("/", "24805113856", "B", "243497277849", "257024904396", min=0, max=270552530944),
        ],
    ),
    "check_disk of an older version": (
        (
            "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n/ 15272 MB (77%);\n/boot 68 MB (69%);\n"
            "/home 69357 MB (27%);\n/var/log 819 MB (84%); | /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n"
            "/var/log=818MB;970;975;0;980\n"
        ),
        (
            "DISK OK - free space: / 3326 MB (56%);\n/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);\n"
            "/var/log 819 MB (84%);"
        ),
        [
            metric("/", "2643", "MB", "5948", "5958", min=0, max=5968),
            metric("/boot", "68", "MB", "88", "93", min=0, max=98),
            metric("/home", "69357", "MB", "253404", "253409", min=0, max=253414),
            metric("/var/log", "818", "MB", "970", "975", min=0, max=980),
        ],
    ),
    "check_ping": (
        "PING OK - Packet loss = 0%, RTA = 0.06 ms|rta=0.056000ms;100.000000;200.000000;0.000000 pl=0%;20;50;0;\n",
        "PING OK - Packet loss = 0%, RTA = 0.06 ms",
        [
            metric("rta", "0.056000", "ms", "100.000000", "200.000000", min=0),
            metric("pl", "0", "%", "20", "50", min=0),
        ],
    ),
    "check_icmp": (
        "OK - 127.0.0.1: rta 0.012ms, lost 0%|rta=0.012ms;200.000;500.000;0; pl=0%;40;80;; rtmax=0.044ms;;;; \n",
        "OK - 127.0.0.1: rta 0.012ms, lost 0%",
        [
            metric("rta", "0.012", "ms", "200.000", "500.000", min=0),
            metric("pl", "0", "%", "40", "80"),
            metric("rtmax", "0.044", "ms"),
        ],
    ),
    "check_http": (
        (
            "HTTP OK: HTTP/1.0 200 OK - 5079 bytes in 0.002 second response time "
            "|time=0.002387s;1.000000;2.000000;0.000000;10.000000 size=5079B;;;0;\n"
        ),
        "HTTP OK: HTTP/1.0 200 OK - 5079 bytes in 0.002 second response time",
        [
            metric("time", "0.002387", "s", "1.000000", "2.000000", min=0, max=10),
            metric("size", "5079", "B", min=0),
        ],
    ),
    "check_http without a server": (
        "connect to address 127.0.0.1 and port 1: Connection refused\nHTTP CRITICAL - Unable to open TCP socket\n",
        "connect to address 127.0.0.1 and port 1: Connection refused\nHTTP CRITICAL - Unable to open TCP socket",
        [],
    ),
    "check_procs": (
        "PROCS OK: 75 processes | procs=75;1:200;;0;\n",
        "PROCS OK: 75 processes",
        [metric("procs", "75", "", "1:200", min=0)],
    ),
    "check_procs of the processor": (
        "CPU OK: 74 processes [init, R-kvfre, 0:0H-ev] | procs=74;;;0; procs_warn=0;;;0; procs_crit=74;;;0;\n",
        "CPU OK: 74 processes [init, R-kvfre, 0:0H-ev]",
        [metric("procs", "74", min=0), metric("procs_warn", "0", min=0), metric("procs_crit", "74", min=0)],
    ),
    "check_users": (
        "USERS OK - 0 users currently logged in |users=0;5;10;0\n",
        "USERS OK - 0 users currently logged in",
        [metric("users", "0", "", "5", "10", min=0)],
    ),
    "check_swap": (
        "SWAP CRITICAL - 0% free (0MB out of 0MB) - Swap is disabled. |swap=0B;0;0;0;0\n",
        "SWAP CRITICAL - 0% free (0MB out of 0MB) - Swap is disabled.",
        [metric("swap", "0", "B", "0", "0", min=0, max=0)],
    ),
    "check_dummy": ("OK: all is well\n", "OK: all is well", []),
}


@pytest.mark.parametrize("name", REAL)
def test_the_output_of_a_real_plug_in_is_understood(name: str) -> None:
    """Its text, each item of its performance data, and the first of them as its number."""
    printed, text, metrics = REAL[name]
    parsed = parse(printed)

    assert parsed.text == text
    assert list(parsed.metrics) == metrics
    assert parsed.number == (metrics[0].text if metrics else None)


# -- one item -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("a=1", metric("a", "1")),
        ("a=1;", metric("a", "1")),
        ("a=1;;;;", metric("a", "1")),
        ("a=1;;;;;;;;", metric("a", "1")),
        ("a=1;2", metric("a", "1", "", "2")),
        ("a=1;;3", metric("a", "1", "", "", "3")),
        ("a=1;;;4", metric("a", "1", min=4)),
        ("a=1;;;;5", metric("a", "1", max=5)),
        ("a=1;2;3;4;5", metric("a", "1", "", "2", "3", min=4, max=5)),
        ("a=-1.5;-2;-3;-4.25;-5", metric("a", "-1.5", "", "-2", "-3", min=-4.25, max=-5)),
        ("a=U", metric("a", "U")),
        ("a=U;1;2;0;3", metric("a", "U", "", "1", "2", min=0, max=3)),
        ("'a'=1", metric("a", "1")),
        ("'a b'=1", metric("a b", "1")),
        ("'C:\\ Used Space'=2.00Gb;0.00;0.00;0.00;5.00", metric("C:\\ Used Space", "2.00", "Gb", "0.00", "0.00", min=0, max=5)),
        ("'don''t'=1", metric("don't", "1")),
        ("''''=1", metric("'", "1")),
        ("'''quoted'''=1", metric("'quoted'", "1")),
        ("'a=b'=1", metric("a=b", "1")),
        ("'a;b|c'=1", metric("a;b|c", "1")),
        ("/var/log-1.2_x:y=1", metric("/var/log-1.2_x:y", "1")),
        ("größe=1", metric("größe", "1")),
        ("a\u00a0b=1", metric("a\u00a0b", "1")),
        ("x" * LABEL_LIMIT + "=1", metric("x" * LABEL_LIMIT, "1")),
    ],
)  # fmt: skip
def test_an_item_that_follows_the_grammar_is_kept(data: str, expected: Metric) -> None:
    """With everything it says."""
    assert items(data) == (expected,)


@pytest.mark.parametrize(
    "text", ["0", "7", "-7", "+7", "007", "1.", ".5", "-0.0", "1e3", "1E-30", "2.5e+2", "9" * 400 + "e-390"]
)
def test_a_value_stays_as_it_was_printed(text: str) -> None:
    """No digit is lost or added."""
    (found,) = items(f"a={text}ms")

    assert (found.text, found.value, found.unit) == (text, float(text), "ms")


@pytest.mark.parametrize(
    "unit",
    [
        "s",
        "us",
        "ms",
        "%",
        "B",
        "KB",
        "MB",
        "TB",
        "c",
        "GB",
        "kB",
        "KiB",
        "MiB",
        "b",
        "W",
        "C",
        "e",
        "E",
        "U",
        "µs",
        "x" * 16,
    ],
)
def test_a_unit_is_letters_or_the_sign_of_percent(unit: str) -> None:
    """Those of the guidelines, and those that are seen in the wild."""
    (found,) = items(f"a=5{unit};1;2;3;4")

    assert (found.text, found.value, found.unit, found.warn, found.max) == ("5", 5.0, unit, "1", 4.0)


@pytest.mark.parametrize("text", ["10", "10:", "~:10", "10:20", "@10:20", "@10", "@~:0", ":10", "-5:-1.5", "1e3:"])
def test_a_threshold_is_a_range_and_stays_as_it_was_printed(text: str) -> None:
    """The six forms of the guidelines and their combinations."""
    (found,) = items(f"a=5;{text};{text};0")

    assert (found.warn, found.crit, found.min) == (text, text, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        "a=", "a=;1;2", "=1", "''=1", "a='1'", "a=x", "a=ms", "a=u", "a=Us", "a=1,5", "a=0,012s", "a=20,", "a=1.2.3", "a=--1", "a=1-",
        "a=0x10", "a=1_000", "a=nan", "a=NaN", "a=inf", "a=-Infinity", "a=1e999", "a=-1e999", "a=" + "9" * 400, "a=٣", "a=\uff15",
        "a=5B/s", "a=5" + "x" * 17, "a==1", "a=b=1", "a=1=2", "don't=1", "a'=1", "'a=1", "'a'b=1", "'a''=1", "'''=1",
        "a=1;x", "a=1;1,5", "a=1;~", "a=1;1:2:3", "a=1;@@1", "a=1;10:~", "a=1;5s", "a=1;nan", "a=1;;1e999", "a=1;;0:inf",
        "a=1;;;x", "a=1;;;U", "a=1;;;0:1", "a=1;;;;1e999", "a=1;;;;5MB", "a=1;2;3;4;5;6", "a=1;;;;;6", "x" * (LABEL_LIMIT + 1) + "=1",
        "a=1|b=2",
    ],
)  # fmt: skip
def test_an_item_that_does_not_follow_it_is_left_out_alone(wrong: str) -> None:
    """Those around it are kept, and a first one is not replaced by the next."""
    before, after = metric("before", "1"), metric("after it", "2", "MB", "3:4")

    assert items(wrong) == ()
    assert items(f"before=1 {wrong} 'after it'=2MB;3:4") == (before, after)
    assert parse(f"x | {wrong} after=2").number is None
    assert parse(f"x | before=1 {wrong}").number == "1"


@pytest.mark.parametrize("junk", ["word", "'", "''", "'a b'", ";", ";;;", "|", "'x", "x'", "~"])
def test_words_that_are_no_items_are_passed_over(junk: str) -> None:
    """They have no equals sign, so they do not count as a first item either."""
    parsed = parse(f"x | {junk} a=1 {junk} b=2 {junk}")

    assert [found.label for found in parsed.metrics] == ["a", "b"]
    assert parsed.number == "1"


def test_a_quote_that_is_never_closed_costs_its_own_item_alone() -> None:
    """Wherever the next quote stands."""
    assert [found.label for found in items("'a=1 b=2 'c d'=3 e=4")] == ["b", "c d", "e"]
    assert [found.label for found in parse("x | 'a=1\ny | b=2 'c d'=3").metrics] == ["b", "c d"]


@pytest.mark.parametrize("blank", [" ", "  ", "\t", " \t ", "\r", "\f"])
def test_any_blank_stands_between_items(blank: str) -> None:
    """One or many."""
    assert [found.label for found in items(f"{blank}a=1{blank}'b c'=2;3{blank}d=4{blank}")] == ["a", "b c", "d"]


def test_so_many_items_are_kept_and_no_more() -> None:
    """The first ones; those that do not follow the grammar are not counted."""
    found = items("bad " * 50 + "bad=x " * 50 + " ".join(f"a{number}={number}" for number in range(METRICS + 50)))

    assert [one.label for one in found] == [f"a{number}" for number in range(METRICS)]


# -- the number ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "number"),
    [
        ("x | a=2.50MB b=3", "2.50"),
        ("x | a=U b=3", None),
        ("x | a=1,5 b=3", None),
        ("x | a= b=3", None),
        ("x | what? a=2 b=3", "2"),
        ("x", None),
        ("x |", None),
        ("x | none here", None),
        ("", None),
        ("x\nlong | a=2", "2"),
        ("x | a=2\nlong | b=3", "2"),
        ("5", None),
    ],
)
def test_the_number_is_the_first_value(printed: str, number: str | None) -> None:
    """And nothing when the first item has none: what comes later measures something else."""
    assert parse(printed).number == number


# -- several lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "text", "labels"),
    [
        ("", "", []),
        ("\n", "", []),
        ("fine", "fine", []),
        ("  fine \r\n", "fine", []),
        ("fine|", "fine", []),
        ("|a=1", "", ["a"]),
        ("fine | a=1 | b=2", "fine", ["a", "b"]),
        ("fine\nmore\n\n  last\n", "fine\nmore\n\n  last", []),
        ("fine | a=1\nmore\nlast", "fine\nmore\nlast", ["a"]),
        ("fine | a=1\nmore b=2\nlast", "fine\nmore b=2\nlast", ["a"]),
        ("fine\nmore | a=1\nb=2\n\nc=3 d=4\n", "fine\nmore", ["a", "b", "c", "d"]),
        ("fine | a=1\r\nmore | b=2\r\nc=3\r\n", "fine\nmore", ["a", "b", "c"]),
        ("fine | a=1\n| b=2\nc=3", "fine", ["a", "b", "c"]),
        ("fine | a=1\nmore |\nc=3 | d=4\ne=5", "fine\nmore", ["a", "c", "d", "e"]),
        ("fine\u2028still\x0bfine\x85 | a=1", "fine\u2028still\x0bfine", ["a"]),
    ],
)
def test_text_and_performance_data_of_several_lines_are_told_apart(printed: str, text: str, labels: list[str]) -> None:
    """The first line has its own data; behind the second mark there is nothing but data."""
    parsed = parse(printed)

    assert (parsed.text, [found.label for found in parsed.metrics]) == (text, labels)


# -- whatever is printed ------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-1000, 1000, places=3).map(lambda number: f"{number:f}"),
)
ENDS = st.one_of(st.just(""), NUMBERS)
RANGES = st.builds(
    lambda at, start, end: f"{at}{start}{end}",
    st.sampled_from(["", "@"]),
    st.one_of(st.just(""), st.just("~:"), NUMBERS.map(lambda number: f"{number}:")),
    ENDS,
)
UNITS = st.one_of(
    st.sampled_from(["", "s", "us", "ms", "%", "B", "KB", "c"]), st.from_regex(r"[A-DF-Za-df-z]{1,16}", fullmatch=True)
)
LABELS = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=30)
QUICK = settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def metrics_of_a_plug_in(draw: st.DrawFn) -> Metric:
    """Any metric that can be printed."""
    text = draw(st.one_of(NUMBERS, st.just("U")))
    least, most = draw(ENDS), draw(ENDS)
    return Metric(
        label=draw(LABELS),
        text=text,
        value=None if text == "U" else float(text),
        unit="" if text == "U" else draw(UNITS),
        warn=draw(RANGES),
        crit=draw(RANGES),
        min=float(least) if least else None,
        max=float(most) if most else None,
    )


def printed_as(one: Metric) -> str:
    """The metric as a plug-in would print it, written by the grammar alone."""
    plain = not set(one.label) & set(" \t\r\v\f='")
    label = one.label if plain else "'" + one.label.replace("'", "''") + "'"
    least, most = ("" if end is None else repr(end) for end in (one.min, one.max))
    return f"{label}={one.text}{one.unit};{one.warn};{one.crit};{least};{most}"


@QUICK
@given(st.lists(metrics_of_a_plug_in(), max_size=6), st.integers(0, 6), st.booleans())
def test_what_is_printed_by_the_grammar_is_read_as_it_was_meant(found: list[Metric], cut: int, short: bool) -> None:
    """In one line or in the two blocks of a longer output, with trailing semicolons or without."""
    data = [printed_as(one).rstrip(";") if short else printed_as(one) for one in found]
    in_one_line = parse(f"fine | {' '.join(data)}\n")
    in_two_blocks = parse(f"fine | {' '.join(data[:cut])}\nmore |" + "\n".join(data[cut:]))

    assert list(in_one_line.metrics) == found
    assert list(in_two_blocks.metrics) == found
    assert (in_one_line.text, in_two_blocks.text) == ("fine", "fine\nmore")
    assert in_one_line.number == (found[0].text if found and found[0].value is not None else None)


@QUICK
@given(
    st.one_of(
        st.text(),
        st.text(" '=;|:@~%,.U019eE-+ab\t\n"),
        st.lists(st.sampled_from(["'", "=1", "a=", " ", ";"])).map("".join),
    )
)
@example("\ud800=1 'a\ud800'=\ud8001")
@example("'" * 999 + "=1")
def test_no_output_whatever_breaks_it(output: str) -> None:
    """Nothing is raised, and what is kept holds to its limits."""
    parsed = parse(output)

    assert len(parsed.metrics) <= METRICS
    for one in parsed.metrics:
        assert 1 <= len(one.label) <= LABEL_LIMIT
        assert len(one.unit) <= 16
        assert all(end is None or math.isfinite(end) for end in (one.value, one.min, one.max))
        assert parse(f"x | {printed_as(one)}").metrics == (one,)
    assert parsed.number is None or math.isfinite(float(parsed.number))


@QUICK
@given(st.text(" '=;|:1ab\n", max_size=60), metrics_of_a_plug_in())
def test_a_good_item_survives_whatever_stands_before_it_in_other_lines(junk: str, good: Metric) -> None:
    """Quotes do not reach over the end of a line."""
    parsed = parse(f"x |\ny |\n{junk}\n{printed_as(good)}")

    assert parsed.metrics[-1:] == (good,) or len(parsed.metrics) == METRICS


@pytest.mark.parametrize("before", ["", "|", "|'", "|a=", "|'a'=", "|a=1;@", "x\n|"])
@pytest.mark.parametrize(
    "part",
    ["'", "=", ";", "|", " ", "\n", "1", "1.", "1e", ":", "a=;", "' ", "'a ", "''a '' ", "'''a ", "'a'= ", "|\n"],
)
def test_hostile_output_takes_a_time_that_grows_with_its_length_alone(before: str, part: str) -> None:
    """A second of processor time for a megabyte, where anything quadratic takes minutes."""
    output = before + part * (MIB // len(part))
    started = time.process_time()
    parse(output)

    assert time.process_time() - started < 10


def test_records_are_frozen() -> None:
    """Made once, passed on."""
    (found,) = items("a=1")

    with pytest.raises(dataclasses.FrozenInstanceError):
        found.label = "b"  # type: ignore[misc]
