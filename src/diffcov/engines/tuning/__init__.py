"""The search for the best sampler of K steps: what is tried, how it is judged, and who stays."""
