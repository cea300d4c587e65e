"""``python -m worker``: run one worker until SIGTERM or SIGINT, or as long as the settings say."""

import signal
import threading

from core import logs
from core.artifacts.private_files import keep_private
from core.db.database import Database
from core.settings import read_or_exit
from worker.processes.prewarmed_trainer import PrewarmedTrainer
from worker.supervisor.loop import WorkerLoop


def main() -> None:
    settings = read_or_exit()
    logs.set_up(settings.log_format)
    keep_private(settings.data_dir)
    db = Database(settings.resolved_database_url)
    db.migrate()
    prewarmed = PrewarmedTrainer(settings)
    loop = WorkerLoop(settings, db, prewarmed.launch, while_idle=prewarmed.warm_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop.set())
    if settings.worker_max_s is not None:
        ending = threading.Timer(settings.worker_max_s, loop.stop.set)
        ending.daemon = True
        ending.start()
    try:
        loop.run()
    finally:
        prewarmed.close()


if __name__ == "__main__":
    main()
