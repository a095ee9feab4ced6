"""What a run keeps on disk, and how it comes back."""
