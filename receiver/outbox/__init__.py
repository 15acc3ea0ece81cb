"""Items on disk, until the service has judged them."""
