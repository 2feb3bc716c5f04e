"""Who acts in the real game."""
