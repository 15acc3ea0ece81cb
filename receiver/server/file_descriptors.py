"""File descriptors: a reserve for the outbox, delivery and the log, the rest for connections.

In: the configured number of connections. Out: the possible number, by the process' limit on
open files, which is raised as far as permitted.
"""

import resource

import structlog

RESERVED = 64

log = structlog.get_logger()


def allow(connections: int) -> None:
    """Raise the limit on open files for these connections and the reserve, as far as permitted."""
    wanted = connections + RESERVED
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= wanted:
        return
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if allowed < wanted:
        log.warning(
            "fewer connections than configured",
            file_descriptors=allowed,
            hint="Raise the limit on open files (ulimit -n), or lower RECEIVER_CONNECTIONS_MAX.",
        )


def room_for(connections: int) -> int:
    """Return the possible number of connections: fewer where descriptors are scarce."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(files - RESERVED, files // 2))
