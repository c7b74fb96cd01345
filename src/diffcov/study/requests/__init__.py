"""What each experiment can be asked for: typed, with every default in one place. Imports no torch."""
