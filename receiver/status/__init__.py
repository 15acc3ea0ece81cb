"""The state for operators: counts, history, one verdict."""
