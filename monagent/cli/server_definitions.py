"""`monserver schedule|probe|override|maintenance|alert`: kinds of definitions that are nothing but definitions."""

from __future__ import annotations

from monagent.cli.server_kinds import kind_group

schedule = kind_group(
    "schedule",
    "Define when probes run: every so often, or by a cron expression in a time zone.",
    "minutely --every 60s",
)
probe = kind_group(
    "probe",
    "Define what is checked: a sensor, its arguments and thresholds, on hosts or groups, by a schedule.",
    "root-disk disk percent / --warning 20: --critical 10: --schedule minutely --group web",
    positional=["sensor", "arguments"],
)
override = kind_group(
    "override",
    "Define what a probe is otherwise on one host (HOST/PROBE), or on a group's hosts (group:GROUP/PROBE).",
    "web1/root-disk --warning 30:",
)
maintenance = kind_group(
    "maintenance",
    "Define when nobody is told of trouble, because it is expected: once, or by a cron expression.",
    "patching --everywhere --from 2026-11-22T22:00:00Z --until 2026-11-23T02:00:00Z",
)
alert = kind_group("alert", "Define who is told of trouble, and how.", "ops --mail ops@example.org --remind 4h")
