"""What a teacher knows before any training, and whether it reads what it is shown."""
