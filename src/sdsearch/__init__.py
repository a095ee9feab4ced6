"""A laboratory for credit assignment in search-augmented agents."""

import gymnasium

__version__ = "0.1.0"

gymnasium.register(
    id="sdsearch/SearchQA-v0",
    entry_point="sdsearch.envs.search_env:SearchEnv",
    vector_entry_point="sdsearch.envs.search_env:SearchVectorEnv",
)
