"""Where images are kept: folders, archives, shards, data sets by name."""
