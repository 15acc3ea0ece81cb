"""A strict local stand-in for the Application Insights ingestion service."""

from receiver.sandbox.server import Server, create_app, serve
from receiver.sandbox.state import INSTRUMENTATION_KEY, Sandbox

__all__ = ["INSTRUMENTATION_KEY", "Sandbox", "Server", "create_app", "serve"]
