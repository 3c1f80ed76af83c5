"""A population of runs on Ray Tune: members differ in settings, copy each other, and carry prompts across sizes."""
