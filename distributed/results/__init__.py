"""Results: what a run has left in its folder.

Promises: `Summary` (in ``summary``) is written whole or not at all, and a summary of an older version is still read;
`open_run` (in ``run_folder``) checks every file that it reads, and says in one line which is missing or damaged;
``tables`` shows a summary on a terminal; ``best_programs`` picks the programs worth looking at.
"""
