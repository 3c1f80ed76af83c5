"""Log-probabilities of programs behind prompts, with gradients into the prompts."""
