"""When a reading is worth waking somebody: rules without I/O, for the agent and for the server.

ranges say which numbers are bad; a watch makes of many readings the few changes that are told; caps and quiet hours say
when telling has to wait.
"""
