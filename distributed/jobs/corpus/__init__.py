"""Stage 1: MAP-Elites on Ray, and the card of the corpus it makes."""
