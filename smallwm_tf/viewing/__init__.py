"""For people to look at: films, dreams beside reality, and the page to play in."""
