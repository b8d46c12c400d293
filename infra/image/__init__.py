"""The image of Nexus: made, and run as it is, by whichever of Docker, Podman and Buildah answers here."""
