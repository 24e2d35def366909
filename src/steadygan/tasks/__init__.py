"""The two kinds of runs: images from latents, and images from images."""
