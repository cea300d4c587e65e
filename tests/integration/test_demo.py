"""The README's first command: ResNet-50, trained for real.

It stands as it is but for its port.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(1200)
def test_the_demo_trains_resnet50_to_97_percent_and_reads_digits_it_has_not_seen(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuneserve.cli.main", "demo", "--stop", "--port", "0", "--data-dir", str(tmp_path)],
        # beside other tests two threads that share each step wait for each other: 12 min of both instead of 3 of one
        env=os.environ | {"TUNESERVE_TRAIN_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "demo.log").read_text()
    accuracy = re.search(r"test accuracy ([\d.]+)% \([^)]+\), trained in [\d.]+ s", done.stdout)
    assert accuracy is not None, done.stdout
    assert float(accuracy[1]) > 97
    assert re.search(r"epoch 1/\d+  step \d+/\d+  loss [\d.]+  accuracy [\d.]+%  \d+ images/s  \d+ s left", done.stdout)
    right = sum(f"\n{digit}.png\t{digit}\t" in done.stdout for digit in range(10))
    assert right >= 9, done.stdout
