"""Processes are killed and frozen at random while jobs run; in the end the books must balance."""
