"""The training loop: steps, schedules, averaged weights, checkpoints, and what happens when losses diverge."""
