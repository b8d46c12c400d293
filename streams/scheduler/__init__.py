"""The role `scheduler`: drains the requests of its clusters and creates their Jobs."""
