"""Carry notifications out of the database: by mail, webhook or Apprise, each at least once and under one identity.

parcels (rules) → shelf (rows) → lane (the thread of one channel) → mail | webhook | apprise; outbox holds the lanes
"""
