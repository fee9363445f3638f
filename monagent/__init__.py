"""A passive monitoring agent that never loses an acknowledged ticket, and the reference server beside it."""

__version__ = "0.1.0"
