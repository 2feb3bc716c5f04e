"""What is asked for: the game, every setting, and what follows from them alone."""
