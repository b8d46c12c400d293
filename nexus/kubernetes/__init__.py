"""The adapters of Kubernetes: execution clusters, and what is kept in them."""
