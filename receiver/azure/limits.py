"""What Application Insights takes, where that is a number."""

EXPIRY_MS = 48 * 3600 * 1000
"""Age at which the service refuses an item. Source: the Envelope schema's MinDateOffset."""
