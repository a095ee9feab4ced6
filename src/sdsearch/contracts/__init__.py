"""What a component must do: the one folder that its author reads, a file for each kind."""
