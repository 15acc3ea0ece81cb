"""The queries as Markdown: a block to paste for each panel, and those on delivery itself. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from receiver.pack.kql import Scope, chart
from receiver.pack.panels import Panel
from receiver.pack.sources import Form

SINCE = "timestamp > ago(3h)"
PAGE_SCOPE = Scope((SINCE,), "5m")
_READ = {
    Form.TOTAL: "",
    Form.RATE: "From `_irate` series: one moment of each minute.",
    Form.RAW: "From the counter itself: its growth between the first samples of neighbouring bins; "
    "a delta is exact and costs less.",
}
_HEAD = """\
In the Azure portal: your Application Insights resource, *Logs*. An item is a row of `customMetrics`; in a
workspace's own *Logs* the table is `AppMetrics`, with `Name`, `Sum`, `ItemCount`, `Min`, `Max`, `Properties`,
`AppRoleInstance` and `TimeGenerated` in place of `name`, `valueSum`, `valueCount`, `valueMin`, `valueMax`,
`customDimensions`, `cloud_RoleInstance` and `timestamp`. A new row can be queried after a minute or so, at times
some minutes.

Is anything there, and since when?

```kusto
customMetrics
| where timestamp > ago(1h)
| summarize items = count(), newest = max(timestamp) by name
| order by items desc
```
"""
_COPIES = """\
An item whose answer was lost on the way is sent again, and counted twice. A folded series has one item a
window, so equal keys are copies: this counts each once.

```kusto
customMetrics
| where {since} and name == {name}
| summarize valueSum = max(valueSum), valueCount = max(valueCount) by timestamp, name, cloud_RoleName, cloud_RoleInstance, key = tostring(customDimensions)
| summarize total = sum(valueSum), events = sum(valueCount) by timestamp = bin(timestamp, 5m)
| order by timestamp asc
```
"""


def markdown(panels: Sequence[Panel], folded_item: str = "") -> str:
    """Write a page; `folded_item` names an item of a folded entry, empty where there is none."""
    parts = [_HEAD, *(_section(panel) for panel in panels)]
    if folded_item:
        parts.append(_COPIES.format(since=SINCE, name=f'"{folded_item}"'))
    return "\n".join(parts)


def _section(panel: Panel) -> str:
    scope = (
        PAGE_SCOPE
        if panel.drawn != "table"
        else replace(PAGE_SCOPE, where=("timestamp > ago(1d)",), bin="")
    )
    query = panel.query(scope)
    shown = chart(query, panel.drawn) if panel.drawn != "table" else query
    words = " ".join(filter(None, (panel.note, _READ[panel.form] if panel.form else "")))
    return f"{panel.title}.{' ' if words else ''}{words}\n\n```kusto\n{shown}\n```\n"
