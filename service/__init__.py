"""The HTTP service: many requests in front, one device behind.

On a CPU it imports no torch.
"""
