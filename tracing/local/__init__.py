"""The bounded store of traces for a service without a collector."""
