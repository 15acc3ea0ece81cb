"""The end of a series: how its samples are used, decided once by metrics.json and kept with the series.

A sample that is selected has one end, or two: it is rendered as an item of its own, or it
goes to the fold under its series' number. `receiver.intake.pipeline` asks; what answers is
made of metrics.json, and knows the rest. Adding an end touches that parser, the pipeline
and the new stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

FOLD_FULL = "fold_full"
WOULD_JOIN = "would_join"


@dataclass(frozen=True, slots=True)
class Ends:
    """The use of the samples of one series.

    `rendered` has the labels of its items, the name under `__name__`; None where it is not
    rendered. `fold_number` is from 1 to 2**32 - 1; 0 where it is not folded. A series that has
    neither has the reason in `dropped`, and is asked for again at the next request.
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
