"""The nouns of the house: questions, episodes, tokens. Nothing here knows YAML or a model."""
