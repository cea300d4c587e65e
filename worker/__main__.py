"""``python -m worker``: one worker, until SIGTERM or SIGINT."""

import logging
import signal

from core.db import Database
from core.settings import Settings
from worker.loop import WorkerLoop


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    db = Database(settings.resolved_database_url)
    db.migrate()
    loop = WorkerLoop(settings, db)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop.set())
    loop.run()


if __name__ == "__main__":
    main()
