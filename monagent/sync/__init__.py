"""Keep a backup directory in step with its source, and prove that it is.

job         what is to be done: the two roots and the rules
run         a whole run: lock, guards, rounds, deletions, report
guards      may it be done now? is the source what it was?
engine      one round through both trees, directory by directory; a `place` is one that is under way
view        what of a directory concerns us; scan: what stands in it, as marks that move with every change
manifest    what both sides looked like when they were last seen equal; past runs
comparison  what is to be done with each entry
files       settle a file: content reads and tags it, metadata is all the rest; others, links: what is no plain file
crew        files settled in batches, by two processes beside us where there are many
bins        where deleted and overwritten entries go
ledger      what became of each entry, in the words of `settled`: counted and listed by tally
report      the whole for programs and people; progress, overdue: how far, and how long ago
helper      the program beside an agent that does all this
"""
