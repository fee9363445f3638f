"""Carry notifications out of the database: by mail, webhook or Apprise, each at least once and under one identity.

parcels (rules) → shelf (rows) → outbox (the thread) → mail | webhook | apprise
"""
