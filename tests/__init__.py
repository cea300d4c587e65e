"""Tests mirror the folders of the product.

The rest stands at the top or in a folder of its kind.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1]  # of the repository
