"""The controller of the configuration in simulated weather: clusters in memory, users, and what must hold in the end."""
