"""Settings that are each possible, and together never work. Pure."""

from collections.abc import Iterator

from receiver.config.settings import Settings


def contradictions(settings: Settings) -> Iterator[str]:
    """Say what no request, no item or no connection would ever get through, and what to change."""
    if settings.in_flight_max_bytes < settings.body_max_bytes:
        yield (
            f"RECEIVER_IN_FLIGHT_MAX_BYTES ({settings.in_flight_max_bytes}) is less than RECEIVER_BODY_MAX_BYTES "
            f"({settings.body_max_bytes}): a body between the two would be answered 503 for ever; "
            "raise the one, or lower the other"
        )
    for name, seconds in (
        ("RECEIVER_HEADERS_TIMEOUT", settings.headers_seconds),
        ("RECEIVER_BODY_TIMEOUT", settings.body_seconds),
    ):
        if not seconds:
            yield f"{name} is 0: nothing is done in no time; name some seconds"
