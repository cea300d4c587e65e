"""Any image to the canonical image that a network sees."""
