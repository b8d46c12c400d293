"""How a process is put together: its engines, its roles, and serving both until it is told to stop."""
