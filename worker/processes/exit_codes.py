"""Exit codes of the worker's child processes.

Those that the loop and its tests know by name.
"""

EXIT_CLAIM_LOST = 3  # another attempt owns the job
EXIT_INTERRUPTED = 75  # stopped on request; the loop decides what becomes of the job
