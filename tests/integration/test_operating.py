"""Backup and restore, pasted from docs/operating.md.

The service goes on answering on its data meanwhile.
"""

import re
import shutil
import subprocess
from collections.abc import Callable

from core.db.tables import Model
from tests import ROOT
from tests.integration.conftest import Programs

OPERATING = (ROOT / "docs" / "operating.md").read_text()


def paste(after: str, programs: Programs) -> None:
    """Run the first shell block after these words.

    The folder is that in which the data lies.
    """
    block = re.findall(r"```sh\n(.*?)```", OPERATING.split(after)[1], re.DOTALL)[0]
    block = block.replace("tuneserve-data", programs.data_dir.name)
    subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=programs.data_dir.parent, check=True)


def test_what_was_backed_up_answers_again_after_all_was_lost(
    programs: Programs, published: Callable[..., Model]
) -> None:
    model = published()
    service = programs.start("service")
    before = programs.train(name="before")
    paste("**Backup.**", programs)
    programs.train(name="after")
    service.terminate()
    service.wait(20)
    shutil.rmtree(programs.data_dir / "models")  # what a disk lost
    paste("**Restore.**", programs)
    programs.start("service")
    assert programs.predicting() == model.id
    assert [job["id"] for job in programs.jobs()] == [before]
    assert (programs.data_dir.with_name("data.old") / "tuneserve.db").exists()
