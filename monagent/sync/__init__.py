"""Keep a backup directory in step with its source, and prove that it is.

job      what is to be done: the two roots and the rules
guards   may it be done now? is the source what it was?
engine   the run: rounds over both trees, directory by directory, until nothing is left
scan     what stands in a directory, as marks that move whenever an entry changes
manifest what both sides looked like when they were last proven equal; past runs
judge    two entries and what is remembered of them: what is to be done (rules alone)
entries  put one entry in place: whole, or not at all
content  read, compare and tag contents
metadata owner, mode, times, extended attributes
workers  two processes that settle files side by side
bins     where deleted and overwritten entries go
report   what was found and done, as text, JSON and HTML
"""
