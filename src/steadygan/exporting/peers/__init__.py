"""Writes files of other repositories, with the inverse mappings of `steadygan.importing`."""
