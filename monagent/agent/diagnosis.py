"""One thing that doctor tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`problem` is empty when it works; `remedy` says what would mend it."""

    subject: str
    problem: str = ""
    remedy: str = ""
