"""Sends a run's records to TensorBoard, Weights & Biases, Trackio, or the user's own tracker."""
