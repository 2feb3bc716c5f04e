"""What programs call: experiments, trained agents, and dreams as environments."""
