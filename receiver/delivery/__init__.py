"""Batches out to Application Insights, and what it said of them."""
