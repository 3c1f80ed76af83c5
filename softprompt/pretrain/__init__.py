"""Stage 2: a language model that is ready for soft prompts, and its tokenizer."""
