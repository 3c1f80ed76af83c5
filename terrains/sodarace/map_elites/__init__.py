"""Stage 1: the best program of every niche."""
