"""The two kinds of runs: synthesis (images from latents) and translation (images from images)."""
