"""What is measured of a mean model's error: sums over images that merge by adding. ``registry`` lists them by name."""
