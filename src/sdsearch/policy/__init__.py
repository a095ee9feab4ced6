"""The language model and what stands on it."""
