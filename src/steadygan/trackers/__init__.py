"""Sends a run's records to TensorBoard, Weights & Biases, Trackio, or a custom tracker."""
