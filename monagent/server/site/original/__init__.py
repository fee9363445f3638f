"""Take over what a monitor.db of the original tutorial system holds: its definitions and its readings."""
