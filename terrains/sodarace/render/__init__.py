"""Grounds and walkers as pictures, still and moving."""
