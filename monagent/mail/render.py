"""Make subject, text and HTML of a template's triplet: NAME.subject, NAME.txt and NAME.html."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from monagent.errors import Refused
from monagent.mail.figures import number_text
from monagent.mail.text import one_line

SUBJECT_LIMIT = 200
_PARTS = ("subject", "txt", "html")


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a mail says."""

    subject: str
    text: str
    html: str


class Templates:
    """The built-in templates, and those of a site in their place. One thread at a time."""

    def __init__(self, directory: Path | None = None) -> None:
        built_in = PackageLoader("monagent.mail")
        loader = ChoiceLoader([FileSystemLoader(directory), built_in]) if directory else built_in
        self._environment = ImmutableSandboxedEnvironment(
            loader=loader,
            autoescape=lambda name: bool(name) and str(name).endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["cell"] = number_text
        self._environment.filters["cells"] = lambda rows: [(name, number_text(value)) for name, value in rows]

    def compile(self, name: str, subject: str = "") -> None:
        """Make sure that a triplet is there and well formed.

        Raises:
            Refused: it is not; says which file, and the line.
        """
        for part in _PARTS:
            self._guarded(f"{name}.{part}", lambda part=part: self._environment.get_template(f"{name}.{part}"))
        if subject:
            self._guarded("subject", lambda: self._environment.from_string(subject))

    def render(self, name: str, variables: Mapping[str, Any], subject: str = "") -> Rendered:
        """Fill a triplet in.

        Args:
            name: of the template.
            variables: what it shows.
            subject: a template of its own for the subject, instead of the triplet's.

        Raises:
            Refused: a template cannot be filled in; says which, and why.
        """
        line = self._fill(f"{name}.subject", variables, subject)
        known = {**variables, "subject": one_line(line, SUBJECT_LIMIT)}
        text = "\n".join(part.rstrip() for part in self._fill(f"{name}.txt", known).strip("\n").split("\n"))
        return Rendered(known["subject"], _without_gaps(text) + "\n", self._fill(f"{name}.html", known))

    def _fill(self, file: str, variables: Mapping[str, Any], source: str = "") -> str:
        def fill() -> str:
            environment = self._environment
            template = environment.from_string(source) if source else environment.get_template(file)
            return template.render(variables)

        return str(self._guarded("subject" if source else file, fill))

    @staticmethod
    def _guarded(file: str, work: Any) -> Any:
        try:
            return work()
        except TemplateNotFound as error:
            raise Refused(f"the template {one_line(error, 100)} is not there") from error
        except TemplateSyntaxError as error:
            where = error.filename or error.name or file
            raise Refused(f"the template {where}, line {error.lineno}: {one_line(error.message)}") from error
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise Refused(
                f"the template {file} cannot be filled in{_line_of(error, file)}: {one_line(error)}"
            ) from error


def _line_of(error: BaseException, file: str) -> str:
    """Jinja gives its templates' lines to the traceback."""
    traceback, found = error.__traceback__, ""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.endswith(file):
            found = f" (line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return found


def _without_gaps(text: str) -> str:
    """At most one empty line in a row."""
    kept: list[str] = []
    for line in text.split("\n"):
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept)


def inlined(html: str, images: Iterable[tuple[str, bytes]]) -> str:
    """The HTML with its pictures in it, for a look without a mail program."""
    import base64  # noqa: PLC0415 - for a preview alone

    for cid, data in images:
        html = html.replace(f'"cid:{cid}"', f'"data:image/png;base64,{base64.b64encode(data).decode()}"')
    return html
