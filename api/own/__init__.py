"""Our own paths, under `/api/v1`."""
