"""A body becomes items: decode, select, render."""
