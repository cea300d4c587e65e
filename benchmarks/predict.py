"""``python -m benchmarks.predict``: requests a second and latency, beside other servers, in turn on one machine.

Needs wrk (Debian's package), a data directory of ours with a served model (--data-dir), a digit as a PNG, and a Python
with litserve, bentoml, onnxruntime and pillow for those two rivals (--rivals-python). They are given the very graph
that we serve. Prints rows for benchmarks/README.md: medians over the rounds, and the ratios of the runs of each round.
"""

import argparse
import base64
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.engine import engine_rates
from benchmarks.load import Load, Server, load

RIVALS = Path(__file__).parent / "rivals"
CONCURRENCIES = (1, 8, 32, 64)


def main() -> None:
    given = _arguments().parse_args()
    png = given.image.read_bytes()
    folder = newest_model(given.data_dir)
    servers = [server for server in _servers(given, folder) if server.name in given.systems]
    raw = [engine_rates(folder, png, given.seconds / 2) for _ in range(given.rounds)]
    rates: dict[tuple[str, int], list[Load]] = {}
    for _ in range(given.rounds):
        for server in servers:
            with tempfile.TemporaryDirectory() as scratch, server.running(), _body(png, server, Path(scratch)) as body:
                for concurrency in given.concurrency:
                    measured = load(server, body, concurrency, given.seconds)
                    rates.setdefault((server.name, concurrency), []).append(measured)
                    print(".", end="", file=sys.stderr, flush=True)
    _report(rates, raw, given)


def newest_model(data_dir: Path) -> Path:
    return max((data_dir / "models").iterdir(), key=lambda folder: folder.stat().st_mtime)


def _servers(given: argparse.Namespace, folder: Path) -> Iterator[Server]:
    card = json.loads((folder / "model.json").read_text())
    graph = card.get("serving", {}).get("file", "model.onnx")
    rival = {"BENCH_MODEL": str(folder), "BENCH_GRAPH": graph}
    python = str(given.rivals_python)
    ours = {"TUNESERVE_DATA_DIR": str(given.data_dir), "TUNESERVE_PROCESSES": str(given.processes)}
    yield Server("tuneserve", [sys.executable, "-m", "service"], ours, "TUNESERVE_PORT", "/livez", "raw")
    yield Server("plain FastAPI, eager torch", [sys.executable, str(RIVALS / "plain_fastapi.py")], rival, body="raw")
    yield Server("LitServe", [python, str(RIVALS / "lit.py")], rival, health="/health", body="image")
    bento = [str(given.rivals_python.parent / "bentoml"), "serve", "bento:Digits", "--working-dir", str(RIVALS)]
    yield Server("BentoML", bento, rival, health="/readyz", body="images", port_option="--port")


@contextmanager
def _body(png: bytes, server: Server, scratch: Path) -> Iterator[Path]:
    """A wrk script that POSTs the digit in the form that the server takes."""
    text = base64.b64encode(png).decode()
    forms = {
        "raw": (png, "image/png"),
        "image": (json.dumps({"image": text}).encode(), "application/json"),
        "images": (json.dumps({"images": [text]}).encode(), "application/json"),
    }
    data, content_type = forms[server.body]
    body, script = scratch / "body", scratch / "post.lua"
    body.write_bytes(data)
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{content_type}"\n'
        f'local file = io.open("{body}", "rb")\nwrk.body = file:read("*a")\nfile:close()\n'
    )
    yield script


def _report(rates: dict[tuple[str, int], list[Load]], raw: list[dict[int, float]], given: argparse.Namespace) -> None:
    engine = {batch: statistics.median(run[batch] for run in raw) for batch in raw[0]}
    print(f"\nraw engine, images/s: {', '.join(f'batch {batch}: {rate:,.0f}' for batch, rate in engine.items())}\n")
    print("| server | " + " | ".join(f"c={c}: requests/s (p50, p99 ms)" for c in given.concurrency) + " |")
    print("|---" * (1 + len(given.concurrency)) + "|")
    for name in dict.fromkeys(name for name, _ in rates):
        cells = [_cell(rates[name, concurrency]) for concurrency in given.concurrency]
        print(f"| {name} | {' | '.join(cells)} |")
    for concurrency in given.concurrency:
        own = rates.get(("tuneserve", concurrency))
        for name in dict.fromkeys(name for name, _ in rates if name != "tuneserve"):
            if own:
                ratios = [mine.per_s / other.per_s for mine, other in zip(own, rates[name, concurrency], strict=True)]
                print(
                    f"c={concurrency}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) x {name}"
                )


def _cell(runs: list[Load]) -> str:
    per_s, p50, p99 = (statistics.median(getattr(run, part) for run in runs) for part in ("per_s", "p50_ms", "p99_ms"))
    failed = sum(run.failed for run in runs)
    return f"{per_s:,.0f} ({p50:.1f}, {p99:.1f}){f' {failed} failed' if failed else ''}"


def _arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data-dir", type=Path, required=True)
    options.add_argument("--image", type=Path, default=Path("client/digits/7.png"))
    options.add_argument("--rivals-python", type=Path, default=Path(sys.executable))
    names = ["tuneserve", "plain FastAPI, eager torch", "LitServe", "BentoML"]
    options.add_argument("--systems", nargs="+", default=names, choices=names)
    options.add_argument("--concurrency", nargs="+", type=int, default=CONCURRENCIES)
    options.add_argument("--processes", type=int, default=1, help="of ours")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=8, help="of each load")
    return options


if __name__ == "__main__":
    main()
