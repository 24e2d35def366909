"""Data input: from a folder, archive or data set name to batches on a device."""
