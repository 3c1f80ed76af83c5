"""Rollouts in, a new prompt state out."""
