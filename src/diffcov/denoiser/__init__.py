"""The seam between networks and engines: engines know of a network only what a denoiser's look tells them."""
