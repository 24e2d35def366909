"""What a run makes: images from latents, or images from images."""
