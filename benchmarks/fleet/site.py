"""The definitions of a fleet, for `monserver apply`. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.fleet.crowd import Member


def toml(members: Sequence[Member], probes: int, seconds: float, *, apart: bool = False) -> str:
    """Every agent as a host, and so many probes that run on all of them.

    Args:
        members: the fleet.
        probes: of each agent.
        seconds: between two runs of a probe.
        apart: each probe has a schedule of its own, a little faster or slower than that of the others, so that the
            checks of a host come one by one and not all together.
    """
    return "\n".join([*_probes(probes, seconds, apart=apart), *map(_host, members)]) + "\n"


def _probes(probes: int, seconds: float, *, apart: bool) -> Iterator[str]:
    yield "[sensor.load]\n"
    schedules = probes if apart else 1
    for number in range(schedules):
        every = seconds * (1 + (number - (schedules - 1) / 2) / 1000)
        yield f'[schedule.fleet-{number:02}]\nevery = "{every:.3f}s"\n'
    for number in range(probes):
        yield (
            f'[probe.load-{number:02}]\nsensor = "load"\narguments = ["{number}"]\nwarning = "80"\ncritical = "90"\n'
            f'schedule = "fleet-{number % schedules:02}"\neverywhere = true\n'
        )


def _host(member: Member) -> str:
    group = "dead" if member.nature.is_dead else member.nature.value
    return f'[host.{member.name}]\naddress = "{member.address}"\nport = {member.port}\ngroups = ["{group}"]'
