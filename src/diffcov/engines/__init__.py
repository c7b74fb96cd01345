"""Objects in, objects out: sampling, sweeps, the forward path, meters, distances, training."""
