"""Who calls, with a balancer in front or without."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from monagent.server.callers import Callers

BALANCERS = [ip_network("10.0.0.1/32"), ip_network("10.0.1.0/24")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.1.7", "198.51.100.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1, nonsense, 10.0.1.7", "10.0.1.7"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_balancer_is_believed_and_nobody_else(remote: str, forwarded: str | None, address: str) -> None:
    """Of what is forwarded, what the balancers themselves have seen counts."""
    environ = {"REMOTE_ADDR": remote} | ({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})

    assert Callers(BALANCERS).address(environ) == address
