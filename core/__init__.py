"""Code shared by service and worker: rows, files, settings, inference.

It holds no loops, threads or entry points.
"""

import os

# else ONNX Runtime reports its sessions to Microsoft and keeps an identifier in ~/.cache; read when it is loaded
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
