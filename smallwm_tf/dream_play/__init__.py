"""Playing inside the dream of a trained agent, by hand, in a web page of this machine."""
