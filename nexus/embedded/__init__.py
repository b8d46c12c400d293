"""The embedded engines: every port on one machine, with files and child processes and no server."""
