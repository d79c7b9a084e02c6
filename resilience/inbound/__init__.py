"""What happens to a request on its way in; one file for each concern, pure ASGI."""
