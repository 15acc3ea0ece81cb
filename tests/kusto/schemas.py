"""Closed schemas of what we deploy, written from the documented fields: a misspelt one is an error.

Sources: Microsoft Learn's template reference for Microsoft.Insights (workbooks 2023-06-01,
scheduledQueryRules 2023-12-01, metricAlerts 2018-03-01), and the workbooks' documentation.
"""

import json
import re
from typing import Any

from jsonschema import Draft202012Validator

EXPRESSION = {"type": "string", "pattern": r"^\[[^\[].*\]$"}


def closed(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make an object's schema without room for other fields."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


def one(*values: Any) -> dict[str, Any]:
    """Allow some values."""
    return {"enum": list(values)}


TEXT = {"type": "string", "minLength": 1}
DURATION = {"type": "string", "pattern": r"^P(T\d+[HM]|\d+D)$"}
NUMBER = {"anyOf": [{"type": "number"}, EXPRESSION]}
TEXT_ITEM = closed({"type": one(1), "content": closed({"json": TEXT}), "name": TEXT})
PARAMETER = closed(
    {"id": TEXT, "version": one("KqlParameterItem/1.0"), "name": TEXT, "type": one(2, 4)},
    {
        "label": TEXT, "isRequired": {"type": "boolean"}, "multiSelect": {"type": "boolean"}, "quote": TEXT,
        "delimiter": TEXT, "query": TEXT, "queryType": one(0), "resourceType": one("microsoft.insights/components"),
        "timeContextFromParameter": one("TimeRange"), "value": {"type": ["object", "array"]},
        "typeSettings": closed(
            {},
            {
                "selectableValues": {"type": "array", "items": closed({"durationMs": {"type": "integer"}})},
                "allowCustom": {"type": "boolean"}, "additionalResourceOptions": {"type": "array", "items": one("value::all")},
                "selectAllValue": TEXT, "showDefault": {"type": "boolean"},
            },
        ),
    },
)  # fmt: skip
PARAMETERS_ITEM = closed({
    "type": one(9),
    "content": closed({
        "version": one("KqlParameterItem/1.0"), "parameters": {"type": "array", "items": PARAMETER},
        "style": one("pills"), "queryType": one(0), "resourceType": one("microsoft.insights/components"),
    }),
    "name": TEXT,
})  # fmt: skip
QUERY_ITEM = closed({
    "type": one(3),
    "content": closed(
        {
            "version": one("KqlItem/1.0"), "query": TEXT, "size": one(0, 1, 2, 3, 4), "title": TEXT,
            "timeContextFromParameter": one("TimeRange"), "queryType": one(0),
            "resourceType": one("microsoft.insights/components"),
            "visualization": one("timechart", "areachart", "table"),
        },
        {"noDataMessage": TEXT},
    ),
    "customWidth": one("50"),
    "name": TEXT,
})  # fmt: skip
WORKBOOK = closed({
    "version": one("Notebook/1.0"),
    "items": {"type": "array", "items": {"anyOf": [TEXT_ITEM, PARAMETERS_ITEM, QUERY_ITEM]}},
    "fallbackResourceIds": {"type": "array", "items": TEXT},
    "$schema": TEXT,
})  # fmt: skip
CRITERION = closed(
    {
        "query": TEXT, "timeAggregation": one("Average", "Count", "Maximum", "Minimum", "Total"),
        "operator": one("Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"), "threshold": NUMBER,
        "failingPeriods": closed({"numberOfEvaluationPeriods": {"type": "integer"}, "minFailingPeriodsToAlert": {"type": "integer"}}),
    },
    {
        "metricMeasureColumn": TEXT,
        "dimensions": {"type": "array", "items": closed({"name": TEXT, "operator": one("Include", "Exclude"), "values": {"type": "array", "items": TEXT}})},
    },
)  # fmt: skip
LOG_RULE = closed({
    "displayName": TEXT, "description": TEXT, "severity": one(0, 1, 2, 3, 4), "enabled": {"type": "boolean"},
    "scopes": {"type": "array", "items": EXPRESSION}, "evaluationFrequency": DURATION, "windowSize": DURATION,
    "criteria": closed({"allOf": {"type": "array", "items": CRITERION, "minItems": 1}}), "autoMitigate": {"type": "boolean"},
    "actions": closed({"actionGroups": EXPRESSION}),
})  # fmt: skip
METRIC_RULE = closed({
    "description": TEXT, "severity": one(0, 1, 2, 3, 4), "enabled": {"type": "boolean"},
    "scopes": {"type": "array", "items": EXPRESSION}, "evaluationFrequency": DURATION, "windowSize": DURATION,
    "criteria": closed({
        "odata.type": one("Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"),
        "allOf": {"type": "array", "minItems": 1, "items": closed({
            "criterionType": one("StaticThresholdCriterion"), "name": TEXT, "metricNamespace": one("azure.applicationinsights"),
            "metricName": TEXT, "operator": one("GreaterThan", "LessThan"), "threshold": NUMBER,
            "timeAggregation": one("Average", "Count", "Maximum", "Minimum", "Total"), "skipMetricValidation": {"const": True},
        })},
    }),
    "autoMitigate": {"type": "boolean"},
    "actions": EXPRESSION,
})  # fmt: skip


def resource(
    kind: str, version: str, properties: dict[str, Any], more: dict[str, Any]
) -> dict[str, Any]:
    """Make a resource's schema."""
    return closed({"type": one(kind), "apiVersion": one(version), "name": EXPRESSION, "location": TEXT, "properties": properties} | more)  # fmt: skip


RESOURCES = {
    "anyOf": [
        resource(
            "Microsoft.Insights/workbooks", "2023-06-01",
            closed({"displayName": TEXT, "category": one("workbook"), "sourceId": EXPRESSION, "version": TEXT, "serializedData": TEXT}),
            {"kind": one("shared")},
        ),
        resource("Microsoft.Insights/scheduledQueryRules", "2023-12-01", LOG_RULE, {"kind": one("LogAlert")}),
        resource("Microsoft.Insights/metricAlerts", "2018-03-01", METRIC_RULE, {}),
    ]
}  # fmt: skip
TEMPLATE = closed({
    "$schema": TEXT, "contentVersion": TEXT, "metadata": closed({"description": TEXT}),
    "parameters": {
        "type": "object",
        "additionalProperties": closed(
            {"type": one("string", "int"), "metadata": closed({"description": TEXT})},
            {"defaultValue": {"type": ["string", "integer"]}, "minValue": {"type": "integer"}},
        ),
    },
    "resources": {"type": "array", "items": RESOURCES},
    "outputs": {"type": "object", "additionalProperties": closed({"type": one("string"), "value": EXPRESSION})},
})  # fmt: skip


def check_template(document: dict[str, Any]) -> None:
    """Hold a template to the schema, and to what no schema says. Raises: AssertionError."""
    Draft202012Validator(TEMPLATE).validate(document)
    text = json.dumps(document)
    used = set(re.findall(r"parameters\('(\w+)'\)", text))
    assert used == set(document["parameters"]), "each parameter is used, each one used is there"
    names = [each["name"] for each in document["resources"]]
    assert len(names) == len(set(names))
    for each in document["resources"]:
        if "serializedData" in each["properties"]:
            book = json.loads(each["properties"]["serializedData"])
            Draft202012Validator(WORKBOOK).validate(book)
            keys = [item["name"] for item in book["items"]]
            assert len(keys) == len(set(keys))
