"""How the receiver speaks to its operator: one line an event, on standard error.

For people when a terminal listens, JSON otherwise.
"""

import sys

import structlog


def configure() -> None:
    """Set up structlog; called once, by the command line."""
    people = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not people),
            structlog.processors.dict_tracebacks
            if not people
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
