"""File descriptors: connections leave some to the outbox, the way to Azure, the log and the rest.

In: how many connections there shall be. Out: how many there may be, by what the system
allows this process; the allowance is raised as far as that may be done.
"""

import resource

import structlog

RESERVED = 64

log = structlog.get_logger()


def allow(connections: int) -> None:
    """Have the system allow so many connections and what is reserved, as far as it may."""
    wanted = connections + RESERVED
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= wanted:
        return
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if allowed < wanted:
        log.warning(
            "fewer connections than were set",
            file_descriptors=allowed,
            hint="Raise the limit on open files (ulimit -n), or lower RECEIVER_CONNECTIONS_MAX.",
        )


def room_for(connections: int) -> int:
    """Say how many of so many connections there may be: fewer where descriptors are scarce."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(files - RESERVED, files // 2))
