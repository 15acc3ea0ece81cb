"""Which receiver is it: host, role, version, since when, where it delivers, how it is set."""

from collections.abc import Sequence
from dataclasses import dataclass

from receiver.config.settings import Origin


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while a receiver runs. `origins` are the settings in effect, each with its source."""

    host: str
    role: str
    instance: str
    origins: Sequence[Origin] = ()
