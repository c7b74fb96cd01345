"""The seam between networks and engines."""
