"""The words for how far a roll-out is, and each of its hosts."""

from __future__ import annotations

RUNNING, DONE, STOPPED, RESTORED = "running", "done", "stopped", "restored"
"""Of a roll-out; RESTORING is another."""

WAITING, UPDATING, INSTALLED, HEALTHY = "waiting", "updating", "installed", "healthy"
"""Of a host: its turn has not come; it was told to update; it has, and its own checks are waited for; they are well."""

AWAY, FAILED = "away", "failed"
"""Of a host: it could not be reached, and was left out; it did not do well."""

RESTORING = "restoring"
"""Of both: what was installed is being taken back. A host that has gone back is RESTORED."""
