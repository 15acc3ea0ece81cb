"""A KEDA ScaledObject: more Tritons when requests wait. Pure.

In: the forms in which metrics reach Azure. Out: YAML. The value must mean something by itself:
the mean time in the queue (a folded mean), else the requests that wait.
Source: KEDA, scalers azure-app-insights and prometheus.
"""

from receiver.pack.panels import PENDING, QUEUE, SUCCESS
from receiver.pack.sources import Sources

_TEXT = """\
# Scales a Deployment of Tritons by {what}, out of Application Insights.
# It lags: a minute for the window, one to three for Azure to take it in, and KEDA's own interval: fit for
# GPU nodes that take minutes to come, not for bursts. Where KEDA can reach Prometheus, the trigger at the
# end is 15 to 30 seconds behind, and the better choice.
# Not run against Azure. Put in: the names in capitals.
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
        ignoreNullValues: "true" # no item while there is no request
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
    """Write it; empty where no metric is selected that could serve."""
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
            what="the requests that wait",
            metric=f"customMetrics/{source.item}",
            aggregation="max",
            target=8,
            unit="requests that wait for one model",
        )
    return ""
