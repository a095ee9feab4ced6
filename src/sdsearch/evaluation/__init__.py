"""How good an agent is on test sets: every episode kept, scored again with another reward, and compared."""
