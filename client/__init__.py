"""The command line. It speaks HTTP, and starts the other programs as processes; it imports none of them."""
