"""How the seed policy is made."""
