"""Settings and the files that they name."""
