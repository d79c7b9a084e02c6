"""What instances of a service tell each other about the origins that they call. Never on a call's path."""
