"""What learns: world model, policy, and the replay they learn from."""
