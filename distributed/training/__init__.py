"""The loop of a run, its set-up, its evaluation, and what it says when nothing is learnt."""
