"""The server's figures for Prometheus: its own health, and the newest readings."""
