"""Sections declared once: validated, filled in, and written as an example."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from monagent.config import values
from monagent.config.manager import ConfigManager
from monagent.config.table import Collector, example, option, options_of

from .conftest import Write


@dataclass(frozen=True)
class Shop:
    """A section for these tests."""

    name: str = option(values.text, None, "what it is called")
    size: int = option(values.count(1, 9), "3", "how large it is")
    for_: str = option(values.text, "", "whom it is for")
    stock: Path = option(values.path, "stock/", "where things are")  # noqa: RUF009 - a field, like the others


def collector(path: Path) -> Collector:
    """A collector for that file."""
    return Collector(ConfigManager(path))


def test_a_declaration_tells_all_about_an_option() -> None:
    """A field whose name Python reserves loses its underscore in the file."""
    declared = options_of(Shop)

    assert list(declared) == ["name", "size", "for_", "stock"]
    assert (declared["for_"].name, declared["size"].default, declared["size"].meaning) == (
        "for",
        "3",
        "how large it is",
    )
    assert declared["name"].default is None


def test_a_section_is_read_and_filled_in(write: Write) -> None:
    """What the file leaves out has its default, read like any other value."""
    path = write("[shop]\nname = A\nfor = all\n")
    shop = collector(path).read("shop", Shop)

    assert shop == Shop(name="A", size=3, for_="all", stock=path.parent / "stock")


def test_relative_paths_start_at_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the file itself was named by a relative path, from anywhere."""
    path = write("[shop]\nname = A\n")
    monkeypatch.chdir(path.parent)
    shop = collector(Path(path.name)).read("shop", Shop)

    assert shop
    assert shop.stock == path.parent / "stock"


def test_a_section_with_a_problem_is_none(write: Write) -> None:
    """And all its problems are noted, each at its line."""
    path = write("[shop]\n\nsize = 10\nnam = A\nfor = %(x)s\n")
    one = collector(path)

    assert one.read("shop", Shop) is None
    assert sorted((problem.line, problem.option, problem.message) for problem in one.problems) == [
        (1, "name", "must be given: what it is called"),
        (3, "size", '"10" is not a whole number from 1 to 9'),
        (4, "nam", "unknown option; did you mean name?"),
        (5, "for", "refers to %(x)s, which is neither in this section nor in [DEFAULT]"),
    ]


def test_a_missing_section_has_its_problems_at_no_line(write: Write) -> None:
    """There is nowhere to point to."""
    one = collector(write(""))
    one.read("shop", Shop)

    assert [(problem.line, problem.section, problem.option) for problem in one.problems] == [(None, "shop", "name")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shopp", "unknown section; did you mean shop?"),
        ("Shop", "unknown section; did you mean shop?"),
        ("brnch:a", "unknown section; did you mean branch:NAME?"),
        ("branch:", "unknown section; did you mean branch:NAME?"),
        ("branch: ", "unknown section; did you mean branch:NAME?"),
        ("zzz", "unknown section (known: shop, branch:NAME)"),
    ],
)
def test_an_unknown_section_gets_a_hint(write: Write, name: str, message: str) -> None:
    """The nearest known one, or all of them."""
    one = collector(write(f"[shop]\n[{name}]\n"))
    one.names(["shop"], ["branch:"])

    assert [(problem.line, problem.section, problem.message) for problem in one.problems] == [(2, name, message)]


def test_names_are_sorted_out_by_prefix(write: Write) -> None:
    """In the order of the file, colons in names included."""
    one = collector(write("[b:y]\n[shop]\n[a:x]\n[b:x:z]\n"))

    assert one.names(["shop"], ["a:", "b:"]) == {"a:": ["x"], "b:": ["y", "x:z"]}
    assert one.problems == []


def test_an_unknown_option_without_a_neighbour_lists_all(write: Write) -> None:
    """So that one can choose."""
    one = collector(write("[shop]\nname = A\nxyz = 1\n"))
    one.read("shop", Shop)

    assert [problem.message for problem in one.problems] == ["unknown option (known: name, size, for, stock)"]


def test_the_example_shows_every_option_with_its_meaning() -> None:
    """In the order of the declaration."""
    assert example("shop", Shop).splitlines() == [
        "[shop]",
        "; what it is called",
        "name =",
        "; how large it is",
        "size = 3",
        "; whom it is for",
        "for =",
        "; where things are",
        "stock = stock/",
    ]
