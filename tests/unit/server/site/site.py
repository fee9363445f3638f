"""A site with one of everything, as definitions and as a file."""

from __future__ import annotations

from typing import Any

from monagent.server.site import rules
from monagent.server.site.model import Key, Site
from monagent.server.site.reading import site_from

FILE = """\
[host."db1.example.org"]
address = "2001:db8::1"
tls = true

[host.web1]
address = "192.0.2.10"
port = 8443
groups = ["big", "web"]
from = ["192.0.2.0/24", "10.0.0.0/8"]
server = "https://other.example.org:8081/xmlrpc/"

[sensor.disk]
note = "free space"

[schedule.minutely]
every = "1m"
splay = "10s"

[schedule.working-hours]
cron = "*/5 8-18 * * 1-5"
timezone = "Europe/Paris"

[probe.root-disk]
sensor = "disk"
arguments = ["percent", "/", 1, 1.5]
warning = "80"
critical = "90"
runs = 2
hysteresis = 2.0
schedule = "minutely"
hosts = ["db1.example.org"]
groups = ["web"]

[override."group:big/root-disk"]
schedule = "working-hours"

[override."web1/root-disk"]
warning = ""
runs = 1

[maintenance.monthly]
probes = ["root-disk"]
cron = "0 22 1 * *"
duration = "2h"

[maintenance.patching]
everywhere = true
from = "2026-11-22T22:00:00Z"
until = "2026-11-23T02:00:00Z"
note = "new kernels"

[alert.ops]
groups = ["web"]
from_state = "critical"
mail = ["ops@example.org"]
webhook = "https://hooks.example.org/x"
secret_file = "/etc/monagent/hook.secret"
apprise_file = "/etc/monagent/apprise"
remind = "4h"
delay = "30s"
language = "zh"

[report.weekly]
period = "weekly"
mail = ["boss@example.org"]
at = "06:30"
timezone = "Asia/Shanghai"
"""


def whole_site() -> Site:
    """The site of `FILE`."""
    return site_from(FILE.encode(), "site.toml")


def site(definitions: dict[Key, dict[str, Any]]) -> Site:
    """Definitions as they are kept."""
    return rules.checked(Site(definitions))


def small_site(**probe: Any) -> Site:
    """Two hosts, one of them in a group, and a probe everywhere, otherwise as given."""
    content = {"sensor": "disk", "schedule": "minutely", "everywhere": True} | probe
    return site(
        {
            ("host", "web1"): {"address": "192.0.2.1", "groups": ["web"]},
            ("host", "db1"): {"address": "192.0.2.2"},
            ("sensor", "disk"): {},
            ("schedule", "minutely"): {"every": "1m", "splay": "0s"},
            ("probe", "root"): content,
        }
    )
