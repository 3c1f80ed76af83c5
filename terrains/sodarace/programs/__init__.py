"""Programs that build walkers: how they are written, and how they change."""
