"""``terraprompt config``: what a file of settings says, whether it is right, and how it is written here."""
