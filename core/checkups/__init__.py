"""Check-ups of uploaded data sets: their queue, and what they find."""
