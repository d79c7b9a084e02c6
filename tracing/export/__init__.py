"""From the end of a span to the collector: encoded at once, bounded, counted, never in the way."""
