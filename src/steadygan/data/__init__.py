"""Images in: from a folder, an archive or a data set's name to batches on a device."""
