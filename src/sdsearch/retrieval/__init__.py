"""What stands between an environment and a searcher, and the vectors that searchers share."""
