"""The check of the label that identifies a Prometheus among its replicas. Pure.

In: the external labels, the remote_write entries that lead to the receiver, and
RECEIVER_REPLICA_LABEL. Out: a finding; none where neither knows such a label.
"""

from collections.abc import Collection, Iterator, Sequence

from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus.relabelling import RemoteWrite, common_labels

SETTING = "RECEIVER_REPLICA_LABEL"


def judge_replicas(
    external: Collection[str], ours: Sequence[RemoteWrite], replica_label: str
) -> Iterator[Finding]:
    """Compare the setting with the labels that this Prometheus writes."""
    likely = next((label for label in external if _is_likely(label)), "")
    if not replica_label:
        if likely:
            detail = f"external_labels has {likely}, the label of a pair of replicas, and {SETTING} is not set: with two such Prometheus every item exists twice"
            yield Finding("replicas", Mark.WARN, detail, f"{SETTING}={likely}: one of them counts, and the other takes over (docs/replicas.md).")  # fmt: skip
        return
    if all(replica_label in common_labels(external, entry) for entry in ours):
        yield Finding("replicas", Mark.OK, f"its series have {replica_label}, which {SETTING} names")  # fmt: skip
        return
    if replica_label in external:
        detail = f"write_relabel_configs drop {replica_label}, which {SETTING} names: the samples of this Prometheus count whichever replica leads"
        yield Finding("replicas", Mark.WARN, detail, f"Let {replica_label} pass: the receiver removes it.")  # fmt: skip
        return
    detail = f"external_labels lacks {replica_label}, which {SETTING} names: the samples of this Prometheus count whichever replica leads"
    fix = f"Its label is {likely}: {SETTING}={likely}." if likely else f"Add {replica_label} to external_labels, with another value at each replica (docs/replicas.md). A Prometheus without a replica: leave it so."  # fmt: skip
    yield Finding("replicas", Mark.WARN, detail, fix)


def _is_likely(label: str) -> bool:
    """Whether a label is called as Prometheus Operator, Mimir and Thanos call it, or alike."""
    return label.lower().strip("_").endswith("replica")
