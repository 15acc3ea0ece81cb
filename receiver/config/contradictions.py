"""Combinations of valid settings that cannot work. Pure."""

from collections.abc import Iterator

from receiver.config.settings import Settings


def contradictions(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each impossible combination, with the change to make."""
    if settings.in_flight_max_bytes < settings.body_max_bytes:
        yield (
            f"RECEIVER_IN_FLIGHT_MAX_BYTES ({settings.in_flight_max_bytes}) is less than RECEIVER_BODY_MAX_BYTES "
            f"({settings.body_max_bytes}): a body between the two would always be answered 503; "
            "raise the first, or lower the second"
        )
    for name, seconds in (
        ("RECEIVER_HEADERS_TIMEOUT", settings.headers_seconds),
        ("RECEIVER_BODY_TIMEOUT", settings.body_seconds),
    ):
        if not seconds:
            yield f"{name} is 0, so every request would time out; set some seconds"
