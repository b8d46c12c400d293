"""Stream processors, one module each, and the drivers that feed them."""
