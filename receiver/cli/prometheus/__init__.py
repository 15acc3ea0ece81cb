"""A Prometheus as the commands see it: its configuration, its rules, its remote_write."""
