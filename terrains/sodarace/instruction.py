"""The text that every sodarace program begins with."""

INSTRUCTION = "import math\n"
"""The hard prompt of every sodarace terrain."""
