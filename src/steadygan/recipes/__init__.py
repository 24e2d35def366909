"""Chooses the settings of a run from the user's images, the machine's speed and the time, each with its reason."""
