"""From prompts and instructions to sampled programs."""
