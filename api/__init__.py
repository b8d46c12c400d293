"""The HTTP API: upstream's paths of contract §1 as they are, and our own under `/api/v1`."""
