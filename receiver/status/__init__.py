"""What an operator sees: counts, history, one verdict."""
