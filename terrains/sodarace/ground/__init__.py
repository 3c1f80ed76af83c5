"""Grounds: their geometry, the names they have, and where they come from."""
