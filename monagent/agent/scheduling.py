"""Have threads started that do not push others off the processor when they wake up.

Python threads share one lock. One that wakes up and preempts another finds that lock taken, most often by the very
thread that it has just interrupted, and both have gained nothing but two switches. Under SCHED_BATCH (sched(7)) a
thread that wakes up waits until a processor is free. It costs the agent's answers nothing that can be measured, and
its processor time a tenth (docs/decisions/0008-scheduling.md).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def patient_threads() -> Iterator[None]:
    """Threads that are started in this block are patient; the one that runs it is so no longer than that.

    Where the policy is another than the usual one, whoever started us wanted it so, and nothing is changed.
    """
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    with contextlib.suppress(OSError):  # forbidden, as some sandboxes do: then without
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
