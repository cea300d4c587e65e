"""Keys, allowed hosts, rate limits, and calls to users' addresses."""
