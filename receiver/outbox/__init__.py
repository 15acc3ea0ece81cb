"""The outbox: items on disk, until the service has judged them."""
