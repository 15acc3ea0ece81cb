"""The reasons why the receiver closes a connection, with hints. Pure values."""

from receiver.events import Kind

CLOSED = Kind("connection", "connection closed")
CLOSE_REASONS = {
    "crowded_out": ("The limit of connections was reached, and a newer connection took its place.", "If senders have to reconnect because of it, raise RECEIVER_CONNECTIONS_MAX."),
    "no_place": ("The limit of connections was reached, all with requests being processed, so it was not accepted.", "The sender retries; if it persists, raise RECEIVER_CONNECTIONS_MAX."),
    "headers_late": ("The request's headers did not arrive in time.", "Find the client that connects and sends nothing, or raise RECEIVER_HEADERS_TIMEOUT."),
    "answer_late": ("A large answer was not read in time.", "Find the client that requests pages and does not read them, or raise RECEIVER_BODY_TIMEOUT."),
    "idle": ("It was idle for too long.", "Nothing to do: the sender reconnects when it has data."),
    "not_http": ("It did not carry HTTP.", "Find the client: https while TLS is off, http while it is on, or a scanner."),
    "handshake_failed": ("The TLS handshake failed or took too long.", "Check that the sender uses TLS, trusts the certificate, and sends its own where required."),
}  # fmt: skip
"""The reasons of `receiver_connections_closed_total`: meaning, and hint."""
