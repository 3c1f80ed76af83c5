"""Scenes as pictures: still ones, moving ones, and data for the player of a page."""
