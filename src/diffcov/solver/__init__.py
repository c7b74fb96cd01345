"""How the mean of a reverse step is made of looks: one method, one file. ``registry`` lists them by name."""
