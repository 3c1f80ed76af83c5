"""Where things lie, what signals do, and how Ray is reached."""
