"""Health check of the container: ``python -m worker.health``.

The exit code is 0 while the worker sends heartbeats.
"""

import socket
import sys
import time

from core.db.database import Database
from core.repositories import workers
from core.settings import Settings


def main() -> int:
    settings = Settings()
    db = Database(settings.resolved_database_url)
    with db.read() as session:
        alive = workers.count_live(session, time.time(), settings.lease_s, socket.gethostname())
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())
