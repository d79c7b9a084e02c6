"""Running examples; not part of the distribution."""
