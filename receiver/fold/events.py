"""The events of a fold that are counted, with their meanings: `receiver_fold_events_total`. Pure."""

REPEATED = "repeated"
FUTURE = "future"
LATE = "late"
BASELINE = "baseline"
RESET = "reset"
JOIN_REFUSED = "would_join"
UNKNOWN = "unknown"
SPLIT = "count_split"
OVERFLOW = "overflow"
TAKEN_OVER = "taken_over"
RELEASED = "released"
EVENTS = {
    REPEATED: "Samples not newer than their series' last: replays, duplicates. Ignored.",
    FUTURE: "Samples more than an hour ahead of this machine's clock. Ignored; the next one makes up for it.",
    LATE: "Late samples, of a window that has its item; they count in the next window.",
    BASELINE: "First samples of counters that were running before: a baseline, which counts nothing.",
    RESET: "Counter resets: a process or a model restarted. The new value counts whole.",
    JOIN_REFUSED: 'Series that `"as": "last"` would have to join with another; they are left out.',
    UNKNOWN: "Samples of series that were forgotten meanwhile. Ignored.",
    SPLIT: "Items with a count beyond int32; the rest went into the next window.",
    OVERFLOW: "Items with a value beyond a JSON number. Left out.",
    TAKEN_OVER: "Series taken over from another receiver, with their sums (`handover`).",
    RELEASED: "Series handed over to another receiver, and forgotten here (`handover`).",
}
