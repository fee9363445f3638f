"""INI files read and written without losing what people put in them."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.config.manager import ConfigManager
from monagent.errors import ConfigError

from .conftest import Write

COMMENTED = """\
; first comment
# second comment

[sensor]
; about the path
path = sensors/   ; trailing words
Timeout: 30

timeout2=5
exclude =
    *.tmp
    # inside
    cache/ ; temporary

[monitor]
url = http://a:1/ ; was http://b:1/
; last comment
"""


@pytest.fixture(scope="module", autouse=True)
def _quick_disk() -> Iterator[None]:
    """Spare the hundreds of files that are saved here the wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


def problems(path: Path) -> list[str]:
    """What is wrong with a file that cannot be opened, each without its directory."""
    with pytest.raises(ConfigError) as caught:
        ConfigManager(path)
    return [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]


# -- reading ------------------------------------------------------------------------------------------------------


def test_options_are_attributes(write: Write) -> None:
    """Section, then option; the value is text."""
    cm = ConfigManager(write("[sensor]\npath = sensors/\nTimeout = 30\n"))

    assert (cm.sensor.path, cm.sensor.timeout, cm.sensor.TIMEOUT) == ("sensors/", "30", "30")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("a = b", "b"),
        ("a=b", "b"),
        ("a : b", "b"),
        ("a =   b c  ", "b c"),
        ("a =", ""),
        ("a = b ; comment", "b"),
        ("a = b;c", "b;c"),
        ("a = b # c", "b # c"),
        ("a = ; comment", ""),
        ("a = b = c", "b = c"),
        ("a = 10%", "10%"),
        ("a = 100%%", "100%"),
        ("a = é 日本", "é 日本"),
        ("a =\n  b\n  c", "\nb\nc"),
        ("a = b\n  c ; comment\n  d", "b\nc\nd"),
        ("a = %(b)s/x\nb = y", "y/x"),
        ("a = %%(b)s", "%(b)s"),
        ("a = %(B)s\nb = %(c)s\nc = 5%", "5%"),
        ("a = %(b)", "%(b)"),
        ("a = %s %d", "%s %d"),
    ],
)
def test_values_are_read_as_people_mean_them(write: Write, line: str, value: str) -> None:
    """Comments after a semicolon, several lines, references, and a lone percent sign."""
    assert ConfigManager(write(f"[s]\n{line}\n")).s.a == value


def test_a_missing_option_is_an_attribute_error(write: Write) -> None:
    """It names the file, the section and the option."""
    path = write("[sensor]\n")

    with pytest.raises(AttributeError, match=rf"{re.escape(str(path))}.*'pathh'.*\[sensor\]"):
        _ = ConfigManager(path).sensor.pathh


def test_a_missing_section_is_an_attribute_error_when_its_option_is_read(write: Write) -> None:
    """It names the section too."""
    with pytest.raises(AttributeError, match=r"\[nowhere\]"):
        _ = ConfigManager(write("")).nowhere.option


def test_reading_creates_nothing(write: Write) -> None:
    """Neither in memory nor on disk."""
    path = write(COMMENTED)
    cm = ConfigManager(path)
    for section in ("sensor", "nowhere"):
        assert getattr(getattr(cm, section), "missing", None) is None
    sections = cm.sections()
    cm.save_config()

    assert sections == ["sensor", "monitor"]
    assert path.read_text("utf-8") == COMMENTED


def test_a_section_of_any_name_is_reached_by_name(write: Write) -> None:
    """Also one that is no identifier."""
    cm = ConfigManager(write("[sensor:my disk]\ntimeout = 5\n"))

    assert cm.section("sensor:my disk").timeout == "5"


def test_sections_and_options_keep_their_order(write: Write) -> None:
    """The defaults are no section of their own."""
    cm = ConfigManager(write("[z]\nb = 1\na = 2\n[DEFAULT]\nd = 1\n[a]\n"))

    assert (cm.sections(), cm.options("z"), cm.options("a"), cm.options("nowhere")) == (["z", "a"], ["b", "a"], [], [])


def test_a_value_that_is_not_there_is_none(write: Write) -> None:
    """For those who ask by name."""
    cm = ConfigManager(write("[a]\n"))

    assert (cm.value("a", "b"), cm.value("b", "a")) == (None, None)


def test_defaults_stand_in_and_can_be_referred_to(write: Write) -> None:
    """A section's own value goes first, in references as well."""
    cm = ConfigManager(
        write("[DEFAULT]\nroot = /srv\nx = 1\n[a]\npath = %(root)s/a\n[b]\nroot = /opt\npath = %(root)s/b\n")
    )

    assert (cm.a.path, cm.b.path, cm.a.x) == ("/srv/a", "/opt/b", "1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[s]\na = %(b)s\n", "client.cfg:2 [s] a: refers to %(b)s, which is neither in this section nor in [DEFAULT]"),
        ("[s]\nb = 1\na = x%(c)sx\n[t]\nc = 1\n", "client.cfg:3 [s] a: refers to %(c)s, which is neither in this section nor in [DEFAULT]"),
        ("[s]\na = %(a)s\n", "client.cfg:2 [s] a: refers to itself"),
        ("[s]\nx = 1\na = %(b)s\nb = %(c)s\nc = %(a)s\n", "client.cfg:3 [s] a: refers to itself"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_a_problem(write: Write, text: str, expected: str) -> None:
    """Found when the value is asked for, by attribute or by name; opening the file is fine."""
    path = write(text)
    cm = ConfigManager(path)
    asked: list[Callable[[], object]] = [lambda: cm.value("s", "a"), lambda: cm.s.a]
    for ask in asked:
        with pytest.raises(ConfigError) as caught:
            ask()

        assert str(caught.value).removeprefix(f"{path.parent}/") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\n", ["client.cfg:1: a section like [sensor] must come before the first option"]),
        ("[s]\na = 1\nb = 2\na = 3\n", ["client.cfg:4 [s] a: stands twice in [s]"]),
        ("[s]\na = 1\nA = 3\n", ["client.cfg:3 [s] a: stands twice in [s]"]),
        ("[s]\n[t]\n\n[s]\n", ["client.cfg:4 [s]: stands twice"]),
        (
            "[s]\nnonsense\na = 1\nmore nonsense\n",
            [f"client.cfg:{line}: is neither a section, nor an option, nor a comment" for line in (2, 4)],
        ),
    ],
)
def test_a_broken_file_is_told_with_its_lines(write: Write, text: str, expected: list[str]) -> None:
    """Every place that is not INI."""
    assert problems(write(text)) == expected


@pytest.mark.parametrize(
    "data", [b"[s]\na = \xff\n", "[s]\na = é\n".encode("utf-16"), "[s]\na = é\n".encode("latin-1")]
)
def test_a_file_in_another_encoding_is_told(tmp_path: Path, data: bytes) -> None:
    """UTF-8 it must be."""
    path = tmp_path / "client.cfg"
    path.write_bytes(data)

    assert problems(path) == ["client.cfg: is not UTF-8 text"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Unless it may be missing."""
    assert problems(tmp_path / "client.cfg") == [
        "client.cfg: cannot be read: there is no such file; monagent init DIR writes one, -c FILE names another"
    ]
    assert ConfigManager(tmp_path / "client.cfg", missing_ok=True).sections() == []


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """Not even where the file may be missing."""
    with pytest.raises(ConfigError, match="cannot be read"):
        ConfigManager(tmp_path, missing_ok=True)


def test_a_section_header_may_have_a_comment(write: Write) -> None:
    """The name of the section ends at its bracket, whatever brackets the comment holds."""
    cm = ConfigManager(write("[s] ; see [x]\na = 1\n"))

    assert (cm.sections(), cm.line("s", "a"), cm.s.a) == (["s"], 2, "1")


# -- line numbers -------------------------------------------------------------------------------------------------


def test_lines_are_those_of_an_editor(write: Write) -> None:
    """Comments, empty lines and values of several lines all count."""
    cm = ConfigManager(write(COMMENTED))
    lines = [cm.line("sensor"), *(cm.line("sensor", option) for option in ("path", "timeout", "timeout2", "exclude"))]

    assert lines == [4, 6, 7, 9, 10]
    assert (cm.line("monitor"), cm.line("monitor", "URL")) == (15, 16)


def test_what_is_nowhere_has_no_line(write: Write) -> None:
    """Section or option."""
    cm = ConfigManager(write("[s]\na = 1\n"))

    assert (cm.line("t"), cm.line("s", "b"), cm.line("t", "a")) == (None, None, None)


blocks = st.sampled_from(
    ["; comment\n", "# comment\n", "\n", "  \n", "{}\n", "{} = 1\n", "{} = 1 ; x\n", "{} =\n  a\n  b\n", "{}: a\n\n", "{} = a\n  b ; c\n  d\n"]
)  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), blocks), max_size=25))
@settings(max_examples=100, deadline=None, database=None)
def test_every_line_number_is_exact(parts: list[tuple[bool, str]]) -> None:
    """However sections, options, comments and empty lines follow each other."""
    text, places, section, opened = "", {}, "s", {"s"}
    text = "[s]\n"
    places["s", ""] = 1
    for number, (new, block) in enumerate(parts):
        if new:
            section = f"s{number}"
            opened.add(section)
            places[section, ""] = text.count("\n") + 1
            text += f"[{section}]\n"
        if block == "{}\n":
            continue
        if "{}" in block:
            places[section, f"o{number}"] = text.count("\n") + 1
        text += block.format(f"o{number}")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "client.cfg")
        path.write_text(text)
        cm = ConfigManager(path)

    assert {place: cm.line(*place) for place in places} == places


# -- writing ------------------------------------------------------------------------------------------------------


def test_a_change_touches_its_line_alone(write: Write) -> None:
    """Comments, order, spacing and the comment on the line itself survive."""
    path = write(COMMENTED)
    cm = ConfigManager(path)
    cm.sensor.path = "/srv/sensors"
    cm.monitor.url = "https://c/"
    cm.save_config()

    assert path.read_text("utf-8") == COMMENTED.replace("= sensors/ ", "= /srv/sensors ").replace(
        "= http://a:1/ ", "= https://c/ "
    )
    assert (cm.sensor.path, cm.monitor.url) == ("/srv/sensors", "https://c/")


def test_what_is_missing_is_made(write: Write) -> None:
    """An option at the end of its section, a section at the end of the file."""
    path = write("[a]\nx = 1\n")
    cm = ConfigManager(path)
    cm.a.y = 2
    cm.section("b:c d").z = True
    cm.save_config()
    again = ConfigManager(path)

    assert (again.a.x, again.a.y, again.section("b:c d").z) == ("1", "2", "True")
    assert path.read_text("utf-8") == "[a]\nx = 1\ny = 2\n\n[b:c d]\nz = True\n"


@pytest.mark.parametrize(
    "before", ["", "\n", "; only a comment", "[a]", "[a]\nx = 1", "[a]\nx =\n  1\n  2", "[a]\nx = 1\n\n\n"]
)
def test_a_section_is_added_to_any_file(write: Write, before: str) -> None:
    """Also where the last line has no end."""
    path = write("")
    path.write_text(before)
    cm = ConfigManager(path)
    cm.new.y = "2"
    cm.save_config()

    assert path.read_text().startswith(before)
    assert ConfigManager(path).new.y == "2"


def test_a_value_of_several_lines_can_be_replaced(write: Write) -> None:
    """What followed it stays."""
    path = write("[a]\nx =\n  1\n  2\n; about y\ny = 3\n")
    cm = ConfigManager(path)
    cm.a.x = "4"
    cm.save_config()

    assert path.read_text() == "[a]\nx = 4\n; about y\ny = 3\n"


def test_assigning_changes_no_file(write: Write) -> None:
    """Only saving does."""
    path = write("[a]\nx = 1\n")
    ConfigManager(path).a.x = "2"

    assert path.read_text() == "[a]\nx = 1\n"


def test_a_section_cannot_be_assigned(write: Write) -> None:
    """A slip that would lose the whole section is refused, saying what would do."""
    cm = ConfigManager(write("[a]\nx = 1\n"))

    with pytest.raises(AttributeError, match=r"a\.option = value"):
        cm.a = "2"
    assert cm.a.x == "1"


@pytest.mark.parametrize("value", ["%(x)s", "%(y)s", "%%", "%%(x)s", "100%", "%", "a%(b", "%(x)s%%", "%%%"])
def test_a_percent_sign_is_kept(write: Write, value: str) -> None:
    """Nothing that is set refers to anything."""
    path = write("[a]\nx = 1\n")
    cm = ConfigManager(path)
    cm.a.z = value
    cm.save_config()

    assert (cm.a.z, ConfigManager(path).a.z) == (value, value)


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("a", "x", "two\nlines"),
        ("a", "new", "two\nlines"),
        ("a", "x", "a\n[b]"),
        ("a", "x", "a\nb = c"),
        ("a", "x", " leading"),
        ("a", "x", "trailing\t"),
        ("a", "x", "a ; comment"),
        ("a", "x", "; comment"),
        ("a", "new", "a\t; comment"),
        ("a", "x", "a\rb = c"),
        ("a", "x", "a\r"),
        ("a", "new", "a\rb"),
        ("a", "", "v"),
        ("a", "o=p", "v"),
        ("a", "o:p", "v"),
        ("a", "o\np", "v"),
        ("a", "o = 1\np", "v"),
        ("a", "[b]", "v"),
        ("a", "#o", "v"),
        ("a", "; o", "v"),
        ("a", " o", "v"),
        ("a", "o ", "v"),
        ("", "o", "v"),
        ("b\n[c]\nd = e", "o", "v"),
        ("b]\nc = d\n[e", "o", "v"),
        ("b\n", "o", "v"),
    ],
)
def test_what_ini_cannot_hold_is_refused_and_changes_nothing(
    write: Write, section: str, option: str, value: str
) -> None:
    """No value can bring an option or a section of its own."""
    path = write(COMMENTED + "[a]\nx = 1 ; one\n")
    before = path.read_text("utf-8")
    cm = ConfigManager(path)
    with pytest.raises(ValueError, match="cannot hold"):
        cm.set(section, option, value)
    cm.save_config()

    assert path.read_text("utf-8") == before
    assert (cm.a.x, cm.sections()) == ("1", ["sensor", "monitor", "a"])


def test_after_a_refusal_the_next_change_works(write: Write) -> None:
    """The manager is as good as before."""
    path = write("[a]\nx = 1\n")
    cm = ConfigManager(path)
    with pytest.raises(ValueError, match="cannot hold"):
        cm.a.x = "two\nlines"
    cm.a.x = "2"
    cm.save_config()

    assert path.read_text() == "[a]\nx = 2\n"


def test_the_mode_is_kept(write: Write) -> None:
    """A file that holds secrets stays closed."""
    path = write("[a]\nx = 1\n")
    for mode in (0o600, 0o640, 0o644, 0o400):
        path.chmod(mode)
        cm = ConfigManager(path)
        cm.a.x = oct(mode)
        cm.save_config()

        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_saving_leaves_no_other_file(write: Write) -> None:
    """What was written beside took the file's place."""
    path = write("[a]\nx = 1\n")
    before = path.stat().st_ino
    ConfigManager(path).save_config()

    assert os.listdir(path.parent) == [path.name]
    assert path.stat().st_ino != before


def test_a_failed_save_leaves_the_old_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no temporary one."""
    path = write("[a]\nx = 1\n")
    cm = ConfigManager(path)
    cm.a.x = "2"

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        cm.save_config()

    assert os.listdir(path.parent) == [path.name]
    assert path.read_text() == "[a]\nx = 1\n"


def test_the_disk_has_it_before_it_takes_the_files_place(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the new file, then the directory that names it, so that a crash leaves one of the two versions."""
    path = write("[a]\nx = 1\n")
    cm = ConfigManager(path)
    cm.a.x = "2"
    seen: list[tuple[bool, str]] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.read_text()))
    )
    cm.save_config()

    assert seen == [(False, "[a]\nx = 1\n"), (True, "[a]\nx = 2\n")]


def test_a_link_stays_a_link(write: Write) -> None:
    """The file behind it is written."""
    path = write("[a]\nx = 1\n")
    link = path.with_name("link.cfg")
    link.symlink_to(path)
    cm = ConfigManager(link)
    cm.a.x = "2"
    cm.save_config()

    assert link.is_symlink()
    assert path.read_text() == "[a]\nx = 2\n"


printable = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("%();=:[]#'\" \\"), max_size=30
)
anything = st.text(
    st.characters(codec="utf-8") | st.sampled_from("%();=:[]#'\"\r\n\t\x0b\x0c\x1c\x85\u2028 "), max_size=20
)
names = st.text(st.characters(codec="utf-8") | st.sampled_from("%();=:[]#\r\n\t ab"), max_size=8)


def _accepted(cm: ConfigManager, section: str, option: str, value: str) -> bool:
    try:
        cm.set(section, option, value)
    except ValueError:
        return False
    return True


@given(printable)
@settings(max_examples=150, deadline=None, database=None)
def test_every_accepted_value_reads_back_after_saving(value: str) -> None:
    """In a new option, in place of another value, and beside a comment."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "client.cfg")
        path.write_text("[a]\nx = 1\ny = 2 ; two\nlast = here\n")
        cm = ConfigManager(path)
        accepted = [option for option in ("x", "y", "z") if _accepted(cm, "a", option, value)]
        cm.save_config()
        again = ConfigManager(path)

        assert [again.value("a", option) for option in accepted] == [value] * len(accepted)
        assert again.a.last == "here"


@given(printable.map(str.strip).filter(lambda value: ";" not in value))
@settings(max_examples=100, deadline=None, database=None)
def test_every_plain_value_is_accepted(value: str) -> None:
    """Text on one line without semicolons can always be set."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "client.cfg")
        path.write_text("[a]\nx = 1\n")

        assert _accepted(ConfigManager(path), "a", "x", value)


@given(names, names, anything)
@settings(max_examples=200, deadline=None, database=None)
def test_nothing_that_is_set_breaks_the_file(section: str, option: str, value: str) -> None:
    """Whatever names and values come: accepted and read back, or refused with nothing changed."""
    text = "[a]\nx = 1\ny = 2 ; two\n"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "client.cfg")
        path.write_text(text)
        cm = ConfigManager(path)
        accepted = _accepted(cm, section, option, value)
        cm.save_config()
        again = ConfigManager(path)

        assert (again.a.x, again.a.y) == ("1", "2") or section == "a"
        assert set(again.sections()) <= {"a", section}
        if accepted:
            assert again.value(section, option) == value
        else:
            assert path.read_bytes() == text.encode()
