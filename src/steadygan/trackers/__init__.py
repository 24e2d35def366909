"""A run's records handed on to the trackers that people have: TensorBoard, Weights & Biases, Trackio, or their own."""
