"""The families that a spec names members of."""
