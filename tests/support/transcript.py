"""Record docs/command-line.md's session anew: ``python -m tests.support.transcript``.

Takes some minutes. What the commands print is written down as it comes.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.integration.conftest import DIGITS, Programs
from tests.support.setfiles import pets
from tests.support.terminal import environment_of_a_person, run_at_terminal

PAGE = ROOT / "docs" / "command-line.md"
HOME = Path("/tmp/session")  # the page shows it
COLUMNS = 80  # whatever it has: rich takes so many where TERM is dumb
HEAD = """# A session on the command line

This session was recorded on one thread of a busy CPU. Service and worker run in another terminal: `tuneserve up`. The
progress of a training is shown as in a pipe; at a terminal it is a progress bar. Lists show the newest 20 rows and say
if there are more; `--limit 100` shows more. `tuneserve COMMAND --help` lists every option.
"""
TRAIN = "tuneserve train digits --network resnet18 --weights random"
SESSION = {
    "Check the installation": ("tuneserve doctor",),
    "Train and predict": (
        f"{TRAIN} --set epochs=4",
        "tuneserve models",
        "tuneserve predict digits/7.png digits/3.png",
        "tuneserve predict --json < digits/7.png",
    ),
    "Pause and resume a job": (
        f"{TRAIN} --set epochs=2 --detach",
        "tuneserve pause @last",
        "until tuneserve job @last | grep paused; do sleep 1; done",
        "tuneserve jobs",
        "tuneserve resume @last",
        "tuneserve logs -f @last | tail -n 1",
        "tuneserve job @last",
    ),
    "Roll back to the first model": ("tuneserve promote digits/1", "tuneserve models"),
    "Your own photos": (
        "ls pets pets/cat",
        "tuneserve datasets check pets",
        "tuneserve train pets --preset quick --model animals",
        "tuneserve predict --model animals --neighbours 2 pets/dog/1.png",
        "tuneserve predict --model animals --csv pets/dog | head -n 3",
        "tuneserve models use animals",
        "tuneserve datasets list",
    ),
    "In scripts": (
        "tuneserve models | cut -f 1,5",
        "tuneserve jobs --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)), \"jobs\")'",
    ),
    "Errors": (
        "tuneserve train mnits",
        "tuneserve train digits --set epoch=2",
        "tuneserve predict bin",
        "tuneserve job job_0",
        "tuneserve jobs --url http://127.0.0.1:1",
        "TUNESERVE_PORT=abc tuneserve up",
    ),
    "API keys": (
        "tuneserve keys add me --scope admin > key",
        "tuneserve jobs",
        "export TUNESERVE_API_KEY=$(cat key); tuneserve keys list",
    ),
}


def main() -> None:
    HOME.mkdir()
    programs = Programs(HOME / "tuneserve-data")
    programs.data_dir.mkdir()
    # for tests that kill
    for name in ("TUNESERVE_PREWARM_TRAINER", "TUNESERVE_HEARTBEAT_INTERVAL_S", "TUNESERVE_LEASE_S"):
        del programs.environment[name]
    try:
        programs.start("service")
        programs.start("worker")
        furnish(HOME)
        parts = [part(programs, title, lines) for title, lines in SESSION.items()]
    finally:
        programs.stop()
        shutil.rmtree(HOME)
    PAGE.write_text("\n".join((HEAD, *parts)))


def furnish(home: Path) -> None:
    """Provide the command and the pictures that the session uses."""
    command = home / "bin" / "tuneserve"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom tuneserve.cli.main import main\nmain()\n")
    command.chmod(0o755)
    (home / "digits").symlink_to(DIGITS)
    for name, data in pets("cat", "dog", each=20).items():
        file = home / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (home / "pets" / "cat" / "notes.txt").write_text("not an image")


def part(programs: Programs, title: str, lines: tuple[str, ...]) -> str:
    shown = [f"$ {line}\n{ran(programs, line)}" for line in lines]
    if title.startswith("Train"):
        (HOME / "first").write_text(str(programs.jobs()[0]["model_id"]))
    return f"## {title}\n\n```console\n{''.join(shown)}```\n"


def ran(programs: Programs, line: str) -> str:
    """Run a command line and return its output.

    An exit code that is not 0 is added.
    """
    person = environment_of_a_person({"NO_COLOR": "1", "TERM": "dumb", "TUNESERVE_URL": programs.url})
    environment = person | {"PATH": f"{HOME / 'bin'}:{person['PATH']}"}
    words = ["bash", "-c", line]
    if "tuneserve train" in line:
        ended = subprocess.run(words, cwd=HOME, env=environment, capture_output=True, text=True, check=False)
        code, shown = ended.returncode, ended.stdout + ended.stderr
    else:
        code, shown = run_at_terminal(words, COLUMNS, HOME, environment)
    told = "\n".join(row.rstrip() for row in shown.splitlines()) + "\n" if shown else ""
    return told + (f"(exit code {code})\n" if code else "")


if __name__ == "__main__":
    main()
