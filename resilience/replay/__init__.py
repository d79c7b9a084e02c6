"""Where answers to keyed requests are kept, so that a request sent twice acts once. Knows nothing of ASGI."""
