"""The limits of one request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request. Every limit is a setting, named by a refusal."""

    decoded_bytes: int = 32 << 20
    parsed_bytes: int = 128 << 20
    rendered_bytes: int = 64 << 20
    series: int = 20_000
    labels: int = 100
    label_bytes: int = 64 << 10
