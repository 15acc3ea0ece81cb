"""One ARM template: the workbook and the alert rules, for `az deployment group create`. Pure.

In: workbook and rules. Out: azuredeploy.json. Names are guid()s of the resource and the rule,
so a second deployment updates the first. Source: Microsoft.Insights/workbooks
2023-06-01, scheduledQueryRules 2023-12-01, metricAlerts 2018-03-01.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from receiver.pack.alerts import LogRule, MetricRule, Threshold
from receiver.pack.workbook import TITLE

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_RESOURCE = "[parameters('appInsightsId')]"
_LOCATION = "[parameters('location')]"
_GROUPS = "[if(empty(parameters('actionGroupId')), createArray(), createArray(parameters('actionGroupId')))]"
_ACTIONS = "[if(empty(parameters('actionGroupId')), createArray(), createArray(createObject('actionGroupId', parameters('actionGroupId'))))]"


def template(
    workbook: Mapping[str, Any], log_rules: Sequence[LogRule], metric_rules: Sequence[MetricRule]
) -> dict[str, Any]:
    """Return the template."""
    thresholds = [
        *(rule.threshold for rule in log_rules if rule.threshold),
        *(rule.threshold for rule in metric_rules),
    ]
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "metadata": {
            "description": "Workbook and alerts for NVIDIA Triton, from the metrics.json of appinsights-receiver."
        },
        "parameters": {
            "appInsightsId": {
                "type": "string",
                "metadata": {
                    "description": "Id of the Application Insights resource: az monitor app-insights component show --query id"
                },
            },
            "location": {
                "type": "string",
                "defaultValue": "[resourceGroup().location]",
                "metadata": {"description": "Region of the workbook and of the rules on queries."},
            },
            "actionGroupId": {
                "type": "string",
                "defaultValue": "",
                "metadata": {
                    "description": "Id of the action group to notify; if empty, alerts are shown but not sent."
                },
            },
            **{threshold.parameter: _parameter(threshold) for threshold in thresholds},
        },
        "resources": [
            _workbook(workbook),
            *(_log_rule(rule) for rule in log_rules),
            *(_metric_rule(rule) for rule in metric_rules),
        ],
        "outputs": {
            "workbookId": {
                "type": "string",
                "value": f"[resourceId('Microsoft.Insights/workbooks', {_guid('workbook')})]",
            }
        },
    }


def _parameter(threshold: Threshold) -> dict[str, Any]:
    return {
        "type": "int",
        "defaultValue": threshold.default,
        "minValue": 0,
        "metadata": {"description": f"Alert above: {threshold.meaning}"},
    }


def _guid(key: str) -> str:
    return f"guid(parameters('appInsightsId'), 'appinsights-receiver', '{key}')"


def _rule_name(key: str) -> str:
    return f"[format('triton-{key.replace('_', '-')}-{{0}}', guid(parameters('appInsightsId')))]"


def _workbook(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "Microsoft.Insights/workbooks",
        "apiVersion": "2023-06-01",
        "name": f"[{_guid('workbook')}]",
        "location": _LOCATION,
        "kind": "shared",
        "properties": {
            "displayName": TITLE,
            "category": "workbook",
            "sourceId": _RESOURCE,
            "version": "Notebook/1.0",
            "serializedData": json.dumps(document, ensure_ascii=False),
        },
    }


def _log_rule(rule: LogRule) -> dict[str, Any]:
    criterion: dict[str, Any] = {
        "query": rule.query,
        "timeAggregation": "Maximum" if rule.measure else "Count",
        "operator": "GreaterThan",
        "threshold": f"[parameters('{rule.threshold.parameter}')]" if rule.threshold else 0,
        "failingPeriods": {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1},
    }
    if rule.measure:
        criterion["metricMeasureColumn"] = rule.measure
    if rule.labels:
        criterion["dimensions"] = [
            {"name": label, "operator": "Include", "values": ["*"]} for label in rule.labels
        ]
    return {
        "type": "Microsoft.Insights/scheduledQueryRules",
        "apiVersion": "2023-12-01",
        "name": _rule_name(rule.key),
        "location": _LOCATION,
        "kind": "LogAlert",
        "properties": {
            "displayName": rule.title,
            "description": rule.description,
            "severity": rule.severity,
            "enabled": True,
            "scopes": [_RESOURCE],
            "evaluationFrequency": rule.frequency,
            "windowSize": rule.window,
            "criteria": {"allOf": [criterion]},
            "autoMitigate": True,
            "actions": {"actionGroups": _GROUPS},
        },
    }


def _metric_rule(rule: MetricRule) -> dict[str, Any]:
    # The items are in microseconds, the parameters in milliseconds.
    scaled = "mul({}, 1000)" if rule.threshold.parameter.endswith("Milliseconds") else "{}"
    threshold = scaled.format(f"parameters('{rule.threshold.parameter}')")
    return {
        "type": "Microsoft.Insights/metricAlerts",
        "apiVersion": "2018-03-01",
        "name": _rule_name(rule.key),
        "location": "global",
        "properties": {
            "description": f"{rule.title}. {rule.description}",
            "severity": rule.severity,
            "enabled": True,
            "scopes": [_RESOURCE],
            "evaluationFrequency": "PT1M",
            "windowSize": "PT5M",
            "criteria": {
                "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
                "allOf": [
                    {
                        "criterionType": "StaticThresholdCriterion",
                        "name": rule.key,
                        "metricNamespace": "azure.applicationinsights",
                        "metricName": rule.metric,
                        "operator": "GreaterThan",
                        "threshold": f"[{threshold}]",
                        "timeAggregation": rule.aggregation,
                        "skipMetricValidation": True,
                    }
                ],
            },
            "autoMitigate": True,
            "actions": _ACTIONS,
        },
    }
