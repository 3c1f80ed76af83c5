"""The report of a run: one HTML page, pictures, and a player of moving walkers.

Promises: a page holds all that it shows, loads nothing and works from a file; names and programs are untrusted text and
are escaped. `write_report` (in ``page``) writes a run's page; ``figures`` and ``player`` are used by replays too.
"""
