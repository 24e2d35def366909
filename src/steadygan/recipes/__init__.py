"""From somebody's images, a machine and some time to the settings of a run, each with its reason."""
