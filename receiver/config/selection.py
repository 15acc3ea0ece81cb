"""The factory of pipelines.

In: settings, and the identity of items. Out: a function from a metrics.json and the routes in
force to its `Pipeline`.
"""

from collections.abc import Callable

from receiver.azure.envelope import Identity
from receiver.config.settings import Settings
from receiver.fold.registry import Registry
from receiver.fold.selection import Selection
from receiver.intake.decode import Limits
from receiver.intake.guard import SeriesLimits
from receiver.intake.metadata import MetadataBook
from receiver.intake.metrics_json import Allowlist
from receiver.intake.pipeline import Pipeline
from receiver.intake.replicas import Replicas
from receiver.intake.routes import Routing


def selector(
    settings: Settings,
    identity: Identity,
    metadata: MetadataBook,
    registry: Registry,
    replicas: Replicas | None = None,
) -> Callable[[Allowlist, Routing], Pipeline]:
    """Return a function that makes the pipeline of a metrics.json.

    All pipelines share `metadata`, which senders repeat rarely, the registry of folded series,
    and the state of `replicas`, if there is any.
    """
    limits = Limits(
        decoded_bytes=settings.decoded_max_bytes,
        parsed_bytes=settings.parsed_max_bytes,
        rendered_bytes=settings.rendered_max_bytes,
        series=settings.series_max,
        labels=settings.labels_max,
        label_bytes=settings.label_max_bytes,
    )
    series_limits = SeriesLimits(settings.metric_series_max, settings.total_series_max)

    def select(wanted: Allowlist, routing: Routing) -> Pipeline:
        cache_bytes = settings.series_cache_bytes
        return Pipeline(
            wanted,
            identity,
            cache_bytes,
            limits,
            metadata,
            use_of=Selection(wanted, registry).use_of,
            series_limits=series_limits,
            replicas=replicas,
            routing=routing,
        )

    return select
