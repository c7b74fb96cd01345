"""The scale of eps_hat at which samples have the contrast of the data."""
