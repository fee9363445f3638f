"""Thousands of fake agents in one process, for any server that speaks the protocol."""
