"""Image containers: folders, archives, shards, named data sets."""
