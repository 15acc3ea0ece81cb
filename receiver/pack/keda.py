"""A KEDA ScaledObject that adds Tritons while requests wait. Pure.

In: the forms in which metrics reach Azure. Out: YAML. The metric must be usable without a
query: the mean time in the queue (a folded mean), else the pending requests.
Source: KEDA, scalers azure-app-insights and prometheus.
"""

from receiver.pack.panels import PENDING, QUEUE, SUCCESS
from receiver.pack.sources import Sources

_TEXT = """\
# Scales a Deployment of Tritons by {what}, read from Application Insights.
# The value lags by the window (a minute), Azure's ingestion (one to three minutes) and KEDA's interval. That suits
# GPU nodes, which take minutes to start, but not bursts. Where KEDA can reach Prometheus, prefer the trigger at the
# end, which lags by 15 to 30 seconds.
# Not tested against Azure. Replace the names in capitals.
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: triton-app-insights
spec:
  podIdentity:
    provider: azure-workload # its identity needs the role Monitoring Reader on the resource
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: triton
spec:
  scaleTargetRef:
    name: TRITON-DEPLOYMENT
  minReplicaCount: 1
  maxReplicaCount: 4
  pollingInterval: 60
  cooldownPeriod: 600
  triggers:
    - type: azure-app-insights
      metricType: Value
      authenticationRef:
        name: triton-app-insights
      metadata:
        metricId: {metric}
        metricAggregationType: {aggregation}
        metricAggregationTimespan: "00:05"
        targetValue: "{target}" # {unit}
        activationTargetValue: "1"
        ignoreNullValues: "true" # no item without a request
        applicationInsightsId: APPLICATION-ID # of the resource, under API Access
        tenantId: TENANT-ID
# In place of the trigger above:
#    - type: prometheus
#      metadata:
#        serverAddress: http://PROMETHEUS:9090
#        query: >-
#          sum(rate(nv_inference_queue_duration_us[2m])) / sum(rate(nv_inference_request_success[2m]))
#        threshold: "100000" # microseconds
"""


def scaled_object(sources: Sources) -> str:
    """Return the YAML; empty where no suitable metric is selected."""
    if mean := sources.mean(QUEUE, [SUCCESS]):
        return _TEXT.format(
            what="the mean time of a request in the queue",
            metric=f"customMetrics/{mean.item}",
            aggregation="avg",
            target=100_000,
            unit="microseconds in the queue",
        )
    if source := sources.gauge(PENDING):
        return _TEXT.format(
            what="the number of pending requests",
            metric=f"customMetrics/{source.item}",
            aggregation="max",
            target=8,
            unit="requests waiting for one model",
        )
    return ""
