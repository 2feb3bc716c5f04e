"""One training run: its phases and what is kept of it."""
