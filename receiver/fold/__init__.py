"""Folding of many samples into one item a window: exact deltas, means and aggregates."""
