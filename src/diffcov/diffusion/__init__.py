"""The noise schedule, the forward process and reverse step, and which times are visited: free of any model."""
