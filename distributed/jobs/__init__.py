"""One module for each command; each returns an exit status."""
