"""Protection of the process' files, memory and environment from other processes.

Called once, by `run`. Rules: umask(2), core(5), prctl(2): a process that is not dumpable
leaves no core file, and its /proc entries and memory are not accessible to other processes of
the same user, such as a model's code in the same container.
"""

import ctypes
import os
import resource

UMASK = 0o077
PR_SET_DUMPABLE = 4


def keep_private() -> None:
    """Make new files accessible only to the owner, and the process not dumpable."""
    os.umask(UMASK)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    try:
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (AttributeError, OSError):
        return  # not Linux: the umask and the limit still apply
