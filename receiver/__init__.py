"""A Prometheus remote-write receiver for Azure Application Insights."""

__version__ = "0.1.0"
