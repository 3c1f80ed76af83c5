"""What is watched while a run goes on: a tracker and a console, neither of which ever stops it."""
