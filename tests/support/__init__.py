"""What several tests share: real processes and real servers on free loopback ports."""
