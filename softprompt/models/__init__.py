"""Language models: frozen ones, the layers of one that are trained, and the weights of Llama-like ones."""
