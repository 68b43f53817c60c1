"""Models of the true shape for the measurements, with random weights."""
