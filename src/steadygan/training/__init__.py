"""The training loop: steps, schedules, averaged weights, checkpoints, and recovery from divergence."""
