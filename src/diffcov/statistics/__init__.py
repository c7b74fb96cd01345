"""What is measured of a mean model's error: sufficient statistics that merge by adding."""
