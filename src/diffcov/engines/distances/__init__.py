"""How far samples are from data in a feature space."""
