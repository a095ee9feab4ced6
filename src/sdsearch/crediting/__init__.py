"""What several credits share."""
