"""Groups in, one optimiser step out."""
