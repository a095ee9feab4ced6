"""What every run watches."""
