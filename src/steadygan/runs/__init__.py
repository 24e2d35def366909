"""The run directory: the contract between training, whoever watches, and people."""
