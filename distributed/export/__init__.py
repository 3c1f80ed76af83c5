"""Prompts out of a run: a registered MLflow model for each terrain."""
