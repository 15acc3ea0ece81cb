"""An entry of metrics.json: the series that it selects, and how their samples are used.

In: values checked by `receiver.intake.metrics_json`. Out: `Entry`, which matches series'
names and names their items. Pure.

A string in the file is an entry that sends every sample as an item. An object may fold
samples: one item a window, made of all samples of that window.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

EVERY_SECONDS = 60
"""The default length of a window: the metrics store's resolution."""
TARGET_LABELS = ("job", "instance")
"""The labels of a series' target. In folded items they are only role and role instance."""


class As(StrEnum):
    """The use of a series' samples."""

    SAMPLES = "samples"
    LAST = "last"
    AGGREGATE = "aggregate"
    DELTA = "delta"
    MEAN = "mean"

    @property
    def is_growth(self) -> bool:
        """Whether an item is made of what counters grew, not of their values."""
        return self in {As.DELTA, As.MEAN}


class First(StrEnum):
    """The value of the first sample of a new counter."""

    AUTO = "auto"
    ZERO = "zero"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of metrics.json; `name` is a series' name, or a glob of names.

    `keep` is None if all labels stay. `quiet_seconds` is 0 if every window has its item.
    """

    name: str
    as_: As = As.SAMPLES
    per: tuple[str, ...] = ()
    every_seconds: int = EVERY_SECONDS
    keep: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    rename: str = ""
    quiet_seconds: int = 0
    first: First = First.AUTO

    @property
    def is_glob(self) -> bool:
        """Whether the name is a glob."""
        return "*" in self.name or "?" in self.name

    @property
    def is_folded(self) -> bool:
        """Whether its series are folded into one item a window."""
        return self.as_ is not As.SAMPLES

    @property
    def keeps_all_labels(self) -> bool:
        """Whether all labels are kept."""
        return self.keep is None and not self.drop

    def fits(self, name: str) -> bool:
        """Whether this entry selects the series named `name`."""
        if not self.is_glob:
            return self.name == name
        return re.fullmatch(glob_pattern(self.name), name, re.DOTALL) is not None

    def item_name(self, name: str) -> str:
        """Return the name of a selected series' items."""
        if "*" not in self.rename:
            return self.rename or name
        before, after = (re.escape(part).replace(r"\?", ".") for part in self.name.split("*"))
        match = re.fullmatch(f"{before}(.*){after}", name, re.DOTALL)
        return self.rename.replace("*", match[1] if match else name)

    def keeps(self, label: str) -> bool:
        """Whether the entry's items keep a label."""
        return label in self.keep if self.keep is not None else label not in self.drop

    def title(self) -> str:
        """Return the entry's title: its name and its use."""
        shown = self.name if self.as_ is As.SAMPLES else f"{self.name} as {self.as_}"
        return f"{shown}, called {self.rename}" if self.rename else shown

    def sentence(self) -> str:
        """Describe the entry in one sentence."""
        every = _minutes(self.every_seconds)
        what = {
            As.SAMPLES: "every sample is an item",
            As.LAST: f"the last value of each {every}",
            As.AGGREGATE: f"sum, count, least and greatest value of each {every}",
            As.DELTA: f"what the counter grew in each {every}",
            As.MEAN: f"mean over {' + '.join(self.per)} of each {every}: "
            "Avg is the mean, Count the events, Sum the total",
        }[self.as_]
        parts = [f"{self.name}: {what}"]
        if self.rename:
            parts.append(f"called {self.rename}")
        if self.keep is not None:
            parts.append(
                f"by {', '.join(self.keep)}" if self.keep else "all series of a target joined"
            )
        if self.drop:
            parts.append(f"without {', '.join(self.drop)}")
        if self.quiet_seconds:
            parts.append(f"unchanged at most every {_minutes(self.quiet_seconds)}")
        if self.first is First.ZERO:
            parts.append("an unseen series counts whole")
        elif self.first is First.BASELINE:
            parts.append("an unseen series counts from its second sample")
        return ", ".join(parts)


def glob_pattern(glob: str) -> str:
    """Return a glob as a regular expression without backtracking.

    The first match of the text between two stars is as good as any later one, so it is final
    (an atomic group): a sender's long name cannot cause backtracking.
    """
    first, *rest = ("".join("." if c == "?" else re.escape(c) for c in part) for part in glob.split("*"))  # fmt: skip
    if not rest:
        return first
    between = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return f"{first}{between}.*{rest[-1]}"


def _minutes(seconds: int) -> str:
    if seconds % 3600 == 0:
        return "hour" if seconds == 3600 else f"{seconds // 3600} hours"
    return "minute" if seconds == 60 else f"{seconds // 60} minutes"
