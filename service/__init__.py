"""The HTTP service: many requests in front, one device behind.

On a CPU it imports no torch.
"""

import core  # noqa: F401 - before any module of this package loads ONNX Runtime: see there
