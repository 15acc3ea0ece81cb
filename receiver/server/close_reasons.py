"""Why the receiver closed a connection, and what to do about it. Pure values."""

from receiver.events import Kind

CLOSED = Kind("connection", "connection closed")
CLOSE_REASONS = {
    "crowded_out": ("All connections were taken, and a newer one got its place.", "If senders reconnect for it, raise RECEIVER_CONNECTIONS_MAX."),
    "no_place": ("All connections were taken by requests at work, so it was not let in.", "The sender comes again; if it lasts, raise RECEIVER_CONNECTIONS_MAX."),
    "headers_late": ("Its request's headers did not come in time.", "Look at who connects and says nothing, or raise RECEIVER_HEADERS_TIMEOUT."),
    "answer_late": ("A large answer was not read in time.", "Look at who asks for pages and does not read them, or raise RECEIVER_BODY_TIMEOUT."),
    "idle": ("It sent nothing for long.", "Nothing: the sender connects again when it has something."),
    "not_http": ("What came over it was no HTTP.", "Look at who connects: https where TLS is off, http where it is on, a scanner."),
    "handshake_failed": ("Its TLS handshake failed or took too long.", "Does the sender speak TLS, trust the certificate and bring its own where asked?"),
}  # fmt: skip
"""The closed set of `receiver_connections_closed_total`: each reason's meaning, and what to do."""
