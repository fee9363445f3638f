"""How bad one reading is. Rules alone."""

from __future__ import annotations

from functools import lru_cache

from monagent.alarms.ranges import parse
from monagent.alarms.watch import CRITICAL, OK, UNKNOWN, WARNING, Rule

SEVERITY = {OK: 0, WARNING: 1, UNKNOWN: 2, CRITICAL: 3}
"""From good to bad, as roll-ups keep it."""
_NAGIOS = {0: OK, 1: WARNING, 2: CRITICAL}


@lru_cache(maxsize=4096)
def rule_of(warning: str | None, critical: str | None, runs: int, margin: float) -> Rule:
    """The rule that a probe's thresholds make. They were checked when they were defined."""
    return Rule(parse(warning or ""), parse(critical or ""), runs, margin)


def level_of(rule: Rule, state: str, *, nagios: bool, ret_code: int, value: float | None) -> str:
    """The level of a reading while `state` is in force.

    Args:
        rule: the probe's.
        state: the last one that a number made.
        nagios: the exit status tells a state, too; the worse of both counts.
        ret_code: exit status.
        value: the number; None: there was none to trust.
    """
    if not nagios:
        return rule.level(value if ret_code == 0 else None, state)
    told = _NAGIOS.get(ret_code, UNKNOWN)
    by_number = OK if value is None else rule.level(value, state)
    return max(told, by_number, key=SEVERITY.__getitem__)
