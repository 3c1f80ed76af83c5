"""A prompt of one size made one of another: surgery, then distillation."""
