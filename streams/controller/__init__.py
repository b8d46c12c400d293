"""The configuration controller: what is described in one cluster is described in all others too."""
