"""How a YAML file becomes settings, and everything that is wrong with it a list."""
