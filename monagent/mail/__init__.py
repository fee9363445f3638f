"""Mail that people keep: made of a context and a template, queued on disk, handed to a mail server.

context → figures, charts → render → message (all of it made by compose) → queue → outbox → transport
"""
