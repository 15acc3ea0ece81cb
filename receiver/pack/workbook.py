"""The workbook for the Azure portal. Pure.

In: panels. Out: a Notebook/1.0 document: a text, parameters for time range and instance, and
a query item for each panel; no groups, which Microsoft's schema refuses.
Source: microsoft/Application-Insights-Workbooks, schema/workbook.json and documentation.
"""

from collections.abc import Sequence
from typing import Any

from receiver.pack.kql import Scope
from receiver.pack.panels import Panel

TITLE = "NVIDIA Triton"
COMPONENTS = "microsoft.insights/components"
TIME_RANGE, INSTANCE = "TimeRange", "Instance"
HOURS = (1, 4, 12, 24, 72, 168, 720)
WORKBOOK_SCOPE = Scope(
    (f"('*' in ({{{INSTANCE}}}) or cloud_RoleInstance in ({{{INSTANCE}}}))",),
    f"{{{TIME_RANGE}:grain}}",
)
"""All rows of the chosen time, which the portal adds, and of the chosen instances."""
_INTRODUCTION = """\
## NVIDIA Triton

Generated from the metrics.json of appinsights-receiver: it has the charts whose metrics are sent. \
For details see docs/folding.md and docs/azure.md there."""


def workbook(panels: Sequence[Panel], *, are_tritons: bool = True) -> dict[str, Any]:
    """Return the document. `are_tritons`: all items' names begin with nv_, so instances are selected by that."""
    return {
        "version": "Notebook/1.0",
        "items": [
            {"type": 1, "content": {"json": _INTRODUCTION}, "name": "introduction"},
            _parameters("\n| where name startswith 'nv_'" if are_tritons else ""),
            *(_tile(panel) for panel in panels),
        ],
        "fallbackResourceIds": ["Azure Monitor"],
        "$schema": "https://github.com/Microsoft/Application-Insights-Workbooks/blob/master/schema/workbook.json",
    }


def _parameters(condition: str) -> dict[str, Any]:
    time_range = {
        "id": "7f2f6f0e-6f0b-4d0f-9a3c-0c6d5a1f0b01",
        "version": "KqlParameterItem/1.0",
        "name": TIME_RANGE,
        "label": "Time",
        "type": 4,
        "isRequired": True,
        "value": {"durationMs": HOURS[1] * 3_600_000},
        "typeSettings": {
            "selectableValues": [{"durationMs": hours * 3_600_000} for hours in HOURS],
            "allowCustom": True,
        },
    }
    instance = {
        "id": "7f2f6f0e-6f0b-4d0f-9a3c-0c6d5a1f0b02",
        "version": "KqlParameterItem/1.0",
        "name": INSTANCE,
        "label": "Instance",
        "type": 2,
        "isRequired": True,
        "multiSelect": True,
        "quote": "'",
        "delimiter": ",",
        "query": f"customMetrics{condition}\n| summarize by cloud_RoleInstance\n| order by cloud_RoleInstance asc",
        "queryType": 0,
        "resourceType": COMPONENTS,
        "timeContextFromParameter": TIME_RANGE,
        "typeSettings": {
            "additionalResourceOptions": ["value::all"],
            "selectAllValue": "*",
            "showDefault": False,
        },
        "value": ["value::all"],
    }
    return {
        "type": 9,
        "content": {
            "version": "KqlParameterItem/1.0",
            "parameters": [time_range, instance],
            "style": "pills",
            "queryType": 0,
            "resourceType": COMPONENTS,
        },
        "name": "parameters",
    }


def _tile(panel: Panel) -> dict[str, Any]:
    content: dict[str, Any] = {
        "version": "KqlItem/1.0",
        "query": panel.query(WORKBOOK_SCOPE),
        "size": 0,
        "title": panel.title,
        "timeContextFromParameter": TIME_RANGE,
        "queryType": 0,
        "resourceType": COMPONENTS,
        "visualization": panel.drawn,
    }
    if panel.note:
        content["noDataMessage"] = f"No data in this time range. {panel.note}"
    return {"type": 3, "content": content, "customWidth": "50", "name": panel.key}
