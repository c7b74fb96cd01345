"""What people look at: tables, curves, plots, and the report."""
