"""What Nexus is deployed on and tested with."""
