"""The parts specific to Application Insights: envelope, limits, connection string, token, answers."""
