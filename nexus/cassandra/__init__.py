"""The run store and the claims on Cassandra and its kin: Scylla, Astra, Amazon Keyspaces."""
