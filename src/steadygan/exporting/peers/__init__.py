"""Files of other programs, by the inverse of the mappings in `steadygan.importing`."""
