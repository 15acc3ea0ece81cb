"""The delivery of batches to Application Insights."""
