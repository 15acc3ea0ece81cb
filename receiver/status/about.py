"""The receiver's identity and settings, for the status page."""

from collections.abc import Sequence
from dataclasses import dataclass

from receiver.config.settings import Origin


@dataclass(frozen=True, slots=True)
class About:
    """Constant facts of a running receiver. `origins` are the settings in effect, with their sources."""

    host: str
    role: str
    instance: str
    origins: Sequence[Origin] = ()
