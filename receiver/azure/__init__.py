"""All that is Application Insights' own: envelope, limits, connection string, token, answers."""
