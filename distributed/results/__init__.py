"""What a run left behind, read back."""
