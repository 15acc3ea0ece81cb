"""The end of a series: the use of its samples, decided once by metrics.json and kept with the series.

A selected sample has one end or two: it is rendered as an item, it is folded under its series'
number, or both. `receiver.intake.pipeline` asks a `Selection`, which is made of metrics.json. A
new end changes that parser, the pipeline and the new stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

FOLD_FULL = "fold_full"
WOULD_JOIN = "would_join"


@dataclass(frozen=True, slots=True)
class Ends:
    """The use of the samples of one series.

    `rendered` has the labels of its items, the name under `__name__`; None for no items.
    `fold_number` is from 1 to 2**32 - 1; 0 for no fold. A series without either has the reason
    in `dropped`, and is decided again at the next request.
    """

    rendered: Mapping[str, str] | None = None
    fold_number: int = 0
    dropped: str = ""


class Selection(Protocol):
    """The selection of series by metrics.json."""

    def wants(self, name: bytes) -> bool:
        """Whether any entry selects or counts the series named `name`."""

    def ends_of(self, labels: Mapping[str, str]) -> Ends:
        """Return the end of a selected series, by its labels; the name is under `__name__`.

        Equal labels get the same number for as long as the fold knows the series.
        """
