"""The queries as Markdown: one block for each panel, and queries on delivery. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from receiver.pack.kql import Scope, chart
from receiver.pack.panels import Panel
from receiver.pack.sources import Form

SINCE = "timestamp > ago(3h)"
PAGE_SCOPE = Scope((SINCE,), "5m")
_READ = {
    Form.TOTAL: "",
    Form.RATE: "From `_irate` series: samples one moment of each minute.",
    Form.RAW: "From the counter itself: its growth between the first samples of neighbouring bins; "
    "a delta is exact and costs less.",
}
_HEAD = """\
In the Azure portal: your Application Insights resource, *Logs*. An item is a row of `customMetrics`; in a
workspace's own *Logs* the table is `AppMetrics`, with `Name`, `Sum`, `ItemCount`, `Min`, `Max`, `Properties`,
`AppRoleInstance` and `TimeGenerated` in place of `name`, `valueSum`, `valueCount`, `valueMin`, `valueMax`,
`customDimensions`, `cloud_RoleInstance` and `timestamp`. A new row appears after about a minute, sometimes
after several.

Which metrics arrive, and when did each last arrive?

```kusto
customMetrics
| where timestamp > ago(1h)
| summarize items = count(), newest = max(timestamp) by name
| order by items desc
```
"""
_COPIES = """\
An item whose answer was lost is sent again, and counts twice. A folded series has one item a window, so rows
with equal keys are copies; this query counts them once.

```kusto
customMetrics
| where {since} and name == {name}
| summarize valueSum = max(valueSum), valueCount = max(valueCount) by timestamp, name, cloud_RoleName, cloud_RoleInstance, key = tostring(customDimensions)
| summarize total = sum(valueSum), events = sum(valueCount) by timestamp = bin(timestamp, 5m)
| order by timestamp asc
```
"""


def markdown(panels: Sequence[Panel], folded_item: str = "") -> str:
    """Return the page; `folded_item` names an item of a folded entry, empty where none exists."""
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
