"""Four services that talk over HTTP: order, inventory, payment and shipping."""
