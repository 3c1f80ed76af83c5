"""Where soft prompts come from, how they begin, and how they are saved."""
