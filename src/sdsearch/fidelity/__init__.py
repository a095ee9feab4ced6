"""Is the credit right? Each turn's true advantage, estimated or known exactly, against what a method says it is."""
