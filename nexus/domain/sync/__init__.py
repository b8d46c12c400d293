"""What the configuration controller writes: given the objects here and those in a shard, plain functions that decide."""
