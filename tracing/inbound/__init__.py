"""The SERVER span around an ASGI application."""
