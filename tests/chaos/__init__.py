"""Kill and freeze processes at random while jobs run.

In the end the books must balance.
"""
