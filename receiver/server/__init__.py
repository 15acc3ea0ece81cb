"""HTTP in: connections, access, the write handler."""
