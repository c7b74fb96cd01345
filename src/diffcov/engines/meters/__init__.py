"""What adds up along the forward path."""
