"""The rows that follow from definitions."""

from __future__ import annotations

from monagent.server.site.plan import PlannedHost, Timing, planned_hosts, planned_probes
from monagent.server.timetable import phase_of
from tests.unit.server.site.site import small_site, whole_site


def test_hosts_are_planned_with_their_defaults() -> None:
    """By name."""
    assert planned_hosts(whole_site()) == [
        PlannedHost("db1.example.org", "2001:db8::1", 8080, (), (), None, tls=True),
        PlannedHost(
            "web1",
            "192.0.2.10",
            8443,
            ("192.0.2.0/24", "10.0.0.0/8"),
            ("big", "web"),
            "https://other.example.org:8081/xmlrpc/",
            tls=False,
        ),
    ]


def test_what_a_host_says_goes_before_its_group_and_that_before_the_probe() -> None:
    """An empty threshold takes the probe's away."""
    planned = {host: (what, when) for host, what, when in planned_probes(whole_site())}
    db1, web1 = planned["db1.example.org"], planned["web1"]

    assert (db1[0].warning, db1[0].critical, db1[0].runs, db1[0].margin) == ("80", "90", 2, 2.0)
    assert db1[0].arguments == ("percent", "/", 1, 1.5)
    assert db1[1] == Timing(60.0, None, None, phase_of("db1.example.org", 10.0))
    assert (web1[0].warning, web1[0].critical, web1[0].runs) == (None, "90", 1)
    assert web1[1] == Timing(None, "*/5 8-18 * * 1-5", "Europe/Paris", 0.0)


def test_a_probe_runs_nowhere_but_on_its_hosts_where_it_is_enabled() -> None:
    """Everywhere, in a group, on named hosts; an override can switch it off."""

    def hosts(**probe: object) -> list[str]:
        site = small_site(**({"everywhere": False} | probe)).having("override", "db1/root", {"enabled": False})
        return sorted(host for host, _, _ in planned_probes(site))

    assert hosts(everywhere=True) == ["web1"]
    assert hosts(groups=["web"], hosts=["web1", "db1"]) == ["web1"]
    assert hosts() == []


def test_a_probe_without_a_schedule_is_never_due() -> None:
    """It runs by hand."""
    _, _, when = next(planned_probes(small_site(schedule="")))

    assert when.due(1e9) is None
    assert Timing(60.0, None, None, 7.0).due(600.0) == 607.0
