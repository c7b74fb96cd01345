"""Experiments as ordinary functions."""
