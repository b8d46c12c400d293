"""What Nexus decides, as plain functions and data: no I/O, no clock, no configuration is read here."""
