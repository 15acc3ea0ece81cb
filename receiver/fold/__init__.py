"""Samples of many scrapes become one item a window: deltas, means, aggregates, exact."""
