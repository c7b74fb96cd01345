"""Files that leave the house: each runs without the rest of diffcov, and is copied beside an exported model."""
