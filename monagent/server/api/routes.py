"""Find who answers which question."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from sqlalchemy import Connection

from monagent.server.api import hosts, incidents, sensors, series, tickets
from monagent.server.api.answer import Answer, good, refused
from monagent.server.api.description import described
from monagent.server.api.question import BadQuestion, NotThere, Parameter, text, values, whole
from monagent.server.database import Database
from monagent.server.web.bounded import TooMuch, bounded

Find = Callable[[Connection, dict[str, Any], float], Any]
"""Answers with what JSON can hold: (db, values of all parameters, seconds since the epoch)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something to ask for. In `path`, `{name}` stands for the parameter of that name in `places`."""

    path: tuple[str, ...]
    find: Find
    parameters: tuple[Parameter, ...] = ()
    places: tuple[Parameter, ...] = ()


def _resource(path: str, find: Find, parameters: Sequence[Parameter] = (), *places: Parameter) -> Resource:
    return Resource(tuple(path.split("/")), find, tuple(parameters), places)


def _place(name: str, read: Callable[[str], Any] = text) -> Parameter:
    return Parameter(
        name, read, "as the list names it", {"type": "string" if read is text else "integer"}, required=True
    )


_NUMBER = whole(1, 2**29)

RESOURCES = (
    _resource("hosts", hosts.hosts, hosts.HOSTS),
    _resource("hosts/{name}", hosts.host, (), _place("name")),
    _resource("probes", hosts.probes, hosts.PROBES_OF),
    _resource("readings", series.readings, series.READINGS),
    _resource("tickets", tickets.tickets, tickets.TICKETS),
    _resource("tickets/{ticket}", tickets.ticket, (), _place("ticket")),
    _resource("incidents", incidents.incidents, incidents.INCIDENTS),
    _resource("incidents/{id}", incidents.incident, (), _place("id", _NUMBER)),
    _resource("sensors/inventory", sensors.inventory, sensors.INVENTORY),
    _resource("rollouts", sensors.rollouts),
    _resource("rollouts/{id}", sensors.rollout, (), _place("id", _NUMBER)),
)
_DESCRIPTION = ("openapi.json",)


class Api:
    """Any thread may ask."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            database: that is read.
            clock: seconds since the epoch.
        """
        self._database = database
        self._clock = clock

    def answer(self, path: Sequence[str], parameters: Mapping[str, Any]) -> Answer:
        """Answer a question.

        Args:
            path: behind `/api/v1/`.
            parameters: texts, or lists of texts where one came twice.

        Raises:
            TooMuch: it takes too long.
            StoreAway: the database cannot be read.
        """
        try:
            if tuple(path) == _DESCRIPTION:
                values((), parameters)
                return good(described(RESOURCES))
            resource, places = _found(path)
            asked = values(resource.places, places) | values(resource.parameters, parameters)
            return good(self._find(resource, asked))
        except BadQuestion as error:
            return refused(HTTPStatus.BAD_REQUEST, str(error), error.parameter)
        except NotThere as error:
            return refused(HTTPStatus.NOT_FOUND, str(error))

    def _find(self, resource: Resource, asked: dict[str, Any]) -> Any:
        try:
            with bounded(self._database) as db:
                return resource.find(db, asked, self._clock())
        except TooMuch as error:
            raise TooMuch(f"{error}; ask for less, by `host`, `since` or the like") from error


def _found(path: Sequence[str]) -> tuple[Resource, dict[str, str]]:
    for resource in RESOURCES:
        if len(path) == len(resource.path) and all(
            part == given or part.startswith("{") for part, given in zip(resource.path, path, strict=True)
        ):
            given = zip(resource.path, path, strict=True)
            return resource, {part.strip("{}"): name for part, name in given if part.startswith("{")}
    known = ", ".join("/".join(resource.path) for resource in RESOURCES)
    raise NotThere(f"there is nothing here; below /api/v1/ there are: {known}, {_DESCRIPTION[0]}")
