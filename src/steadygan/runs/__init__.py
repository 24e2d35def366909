"""The run directory: the contract between training, the programs that watch it, and people."""
