"""The server's counts: requests, connections, requests in flight, known series."""

from dataclasses import dataclass

from receiver.intake.cache import CacheStatistics
from receiver.server.admission import AdmissionStatistics
from receiver.server.connections import ConnectionCounts
from receiver.server.write_handler import WriteCounts


@dataclass(frozen=True, slots=True)
class ServerCounts:
    """The counts of the server and of the pipeline, read at one moment."""

    write_handler: WriteCounts
    door: ConnectionCounts
    admission: AdmissionStatistics
    cache: CacheStatistics
