"""What this process keeps from others on its machine: its files, its memory, its environment.

In and out: nothing. Called once, by the verb that runs a receiver. Rules: umask(2), core(5),
prctl(2): a process that is not dumpable leaves no core behind, and its /proc entries and its
memory are closed to other processes of the same user, such as a model's code beside it.
"""

import ctypes
import os
import resource

UMASK = 0o077
PR_SET_DUMPABLE = 4


def keep_private() -> None:
    """Make new files the owner's alone, and leave no way to read this process' memory."""
    os.umask(UMASK)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    try:
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (AttributeError, OSError):
        return  # no Linux: the umask and the limit stand
