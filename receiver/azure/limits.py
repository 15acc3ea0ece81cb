"""Limits of Application Insights."""

EXPIRY_MS = 48 * 3600 * 1000
"""Age at which the service refuses an item. Source: the Envelope schema's MinDateOffset."""

NAME_LIMIT = 1024
"""UTF-16 units in a metric's name. Source: the DataPoint schema."""

METRIC_DIMENSIONS = 10
"""Properties of an item that its metric can be split by; logs have all."""
METRIC_SERIES = 50_000
"""Series with dimensions in 12 hours, of a subscription and region; charts past them are incomplete.
Source of both: learn.microsoft.com, limits of custom metrics."""
