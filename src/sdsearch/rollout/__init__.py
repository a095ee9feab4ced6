"""Questions in, groups of trajectories out: agent and environment, played together."""
