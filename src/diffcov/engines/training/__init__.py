"""One generic loop, used by the mean and by the heads."""
