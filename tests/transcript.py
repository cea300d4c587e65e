"""The session on the command line in docs/command-line.md, run anew: python -m tests.transcript

Takes some minutes. What the commands print is written down as it comes.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.conftest import DIGITS, Programs
from tests.setfiles import pets

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
HEAD = """# A session on the command line

`python -m tests.transcript` wrote it down, on two processor cores without a GPU. Service and worker run beside it, as
`tuneserve up` starts them. At a terminal there are live bars and tables; this went into a file, so it is plain.
"""
TRAIN = "tuneserve train --dataset digits --network resnet18 --weights random"
SESSION = {
    "Is everything there?": ("tuneserve doctor",),
    "Train, and ask": (
        f"{TRAIN} --epochs 5",
        "tuneserve models",
        "tuneserve predict digits/7.png digits/3.png",
        "tuneserve predict --json - < digits/7.png",
    ),
    "Let a job rest, and go on": (
        f"{TRAIN} --epochs 6 --detach > job",
        "tuneserve pause $(cat job)",
        "tuneserve jobs",
        "tuneserve resume $(cat job)",
        "tuneserve logs -f $(cat job) | tail -n 5",
        "tuneserve job $(cat job)",
    ),
    "Back to the first model": ("tuneserve promote $(cat first)", "tuneserve models"),
    "Pictures of one's own": (
        "ls pets pets/cat",
        "tuneserve datasets add pets pets",
        "tuneserve datasets list",
        "tuneserve train --dataset pets --network squeezenet1_1 --weights random --epochs 2",
    ),
    "What is wrong is told": (
        "tuneserve train --dataset mnits",
        "tuneserve predict job",
        "tuneserve job job_0",
        "tuneserve jobs --url http://127.0.0.1:1",
    ),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as data_dir, tempfile.TemporaryDirectory() as home:
        programs = Programs(Path(data_dir))
        del programs.environment["TUNESERVE_WARM_TRAINER"], programs.environment["TUNESERVE_TRAIN_THREADS"]
        try:
            programs.start("service")
            programs.start("worker")
            furnish(Path(home))
            parts = [part(programs, Path(home), title, lines) for title, lines in SESSION.items()]
        finally:
            programs.stop()
    PAGE.write_text("\n".join((HEAD, *parts)).replace(data_dir, "tuneserve-data"))


def furnish(home: Path) -> None:
    """The pictures that the session asks about."""
    (home / "digits").symlink_to(DIGITS)
    for name, data in pets("cat", "dog", each=20).items():
        file = home / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (home / "pets" / "cat" / "notes.txt").write_text("not an image")


def part(programs: Programs, home: Path, title: str, lines: tuple[str, ...]) -> str:
    shown = [f"$ {line}\n{ran(programs, home, line)}" for line in lines]
    if title.startswith("Train"):
        (home / "first").write_text(str(programs.jobs()[0]["model_id"]))
    return f"## {title}\n\n```console\n{''.join(shown)}```\n"


def ran(programs: Programs, home: Path, line: str) -> str:
    """What it printed, with its exit code where that is not 0."""
    command = line.replace("tuneserve ", f"{shlex.quote(sys.executable)} -m client.cli ", 1)
    python_path = {"PYTHONPATH": str(PAGE.parents[1]), "COLUMNS": "110"}
    environment = programs.environment | python_path | {"TUNESERVE_URL": programs.url}
    ended = subprocess.run(
        ["bash", "-c", command], cwd=home, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    code = f"(exit code {ended.returncode})\n" if ended.returncode else ""
    return ended.stdout + ended.stderr + code


if __name__ == "__main__":
    main()
