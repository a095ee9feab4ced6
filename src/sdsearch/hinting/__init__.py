"""What hints are made of."""
