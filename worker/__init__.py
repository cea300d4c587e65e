"""The worker: it claims jobs and runs each in its own process."""

import core  # noqa: F401 - before any module of this package loads ONNX Runtime: see there
