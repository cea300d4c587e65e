"""``python -m benchmarks.predict``: compare requests/s and latency with other servers.

All run on one machine. Needs wrk (Debian's package), a data directory of ours with a served model (--data-dir), a digit
as a PNG, and a Python with litserve, bentoml, onnxruntime and pillow for those two rivals (--rivals-python). They are
given the very graph that we serve. Prints rows for docs/benchmarks.md: medians over the rounds, and the ratios of the
runs of each round; to the raw engine too, which is measured beside each round. With --overload, what becomes of ten
times the load that can be answered; with --training, of predictions while a ResNet-50 is trained on the same machine.

With --device cuda ours and the raw engine are on the GPU: --processes 4 --batch 128 --concurrency 1 32 256 --systems
tuneserve.
"""

import argparse
import base64
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.engine import engine_rates
from benchmarks.overload import overload
from benchmarks.servers.load import Load, Server, leave_on_sigterm, load, script
from benchmarks.servers.ours import copied, newest_model, service
from benchmarks.training import beside_training

RIVALS = Path(__file__).parent / "rivals"
CONCURRENCIES = (1, 8, 32, 64)


def main() -> None:
    given = _arguments().parse_args()
    leave_on_sigterm()
    png = given.image.read_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        body = Path(scratch) / "digit"
        body.write_bytes(png)
        if given.overload:
            overload(given.data_dir, body, given.seconds)
        if given.training:
            with copied(given.data_dir) as data_dir:
                ours = service(data_dir, **_settings(given))
                beside_training(ours, data_dir, body, given.concurrency, given.seconds)
    if not (given.overload or given.training):
        _compare(given, png)


def _compare(given: argparse.Namespace, png: bytes) -> None:
    folder = newest_model(given.data_dir)
    servers = [server for server in _servers(given, folder) if server.name in given.systems]
    raw: list[dict[int, float]] = []
    rates: dict[tuple[str, int], list[Load]] = {}
    for _ in range(given.rounds):
        raw.append(engine_rates(folder, png, given.seconds / 2, given.device))
        for server in servers:
            with tempfile.TemporaryDirectory() as scratch, server.running():
                post = _post(png, server, Path(scratch))
                for concurrency in given.concurrency:
                    measured = load(server, post, concurrency, given.seconds)
                    rates.setdefault((server.name, concurrency), []).append(measured)
                    print(".", end="", file=sys.stderr, flush=True)
    _report(rates, raw, given)


def _servers(given: argparse.Namespace, folder: Path) -> Iterator[Server]:
    card = json.loads((folder / "model.json").read_text())
    graph = card.get("serving", {}).get("file", "model.onnx")
    rival = {"BENCH_MODEL": str(folder), "BENCH_GRAPH": graph}
    python = str(given.rivals_python)
    yield service(given.data_dir, **_settings(given))
    yield Server("plain FastAPI, eager torch", [sys.executable, str(RIVALS / "plain_fastapi.py")], rival, body="raw")
    yield Server("LitServe", [python, str(RIVALS / "lit.py")], rival, health="/health", body="image")
    bento = [str(given.rivals_python.parent / "bentoml"), "serve", "bento:Digits", "--working-dir", str(RIVALS)]
    yield Server("BentoML", bento, rival, health="/readyz", body="images", port_option="--port")


def _settings(given: argparse.Namespace) -> dict[str, str | int]:
    return {"PROCESSES": given.processes, "PREDICT_DEVICE": given.device, "PREDICT_BATCH": given.batch}


def _post(png: bytes, server: Server, scratch: Path) -> Path:
    """Write a wrk script that POSTs the digit in the server's format."""
    text = base64.b64encode(png).decode()
    forms = {
        "raw": (png, "image/png"),
        "image": (json.dumps({"image": text}).encode(), "application/json"),
        "images": (json.dumps({"images": [text]}).encode(), "application/json"),
    }
    data, content_type = forms[server.body]
    body, post = scratch / "body", scratch / "post.lua"
    body.write_bytes(data)
    post.write_text(script(body, content_type))
    return post


def _report(rates: dict[tuple[str, int], list[Load]], raw: list[dict[int, float]], given: argparse.Namespace) -> None:
    engine = {batch: statistics.median(run[batch] for run in raw) for batch in raw[0]}
    print(f"\nraw engine, images/s: {', '.join(f'batch {batch}: {rate:,.0f}' for batch, rate in engine.items())}\n")
    print("| server | " + " | ".join(f"c={c}: requests/s (p50, p99 ms)" for c in given.concurrency) + " |")
    print("|---" * (1 + len(given.concurrency)) + "|")
    for name in dict.fromkeys(name for name, _ in rates):
        cells = [str(Load.median(rates[name, concurrency])) for concurrency in given.concurrency]
        print(f"| {name} | {' | '.join(cells)} |")
    for concurrency in given.concurrency:
        own = rates.get(("tuneserve", concurrency))
        if own:
            _beside_raw(own, raw, concurrency)
        for name in dict.fromkeys(name for name, _ in rates if name != "tuneserve"):
            if own:
                ratios = [mine.per_s / other.per_s for mine, other in zip(own, rates[name, concurrency], strict=True)]
                print(
                    f"c={concurrency}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) x {name}"
                )


def _beside_raw(own: list[Load], raw: list[dict[int, float]], concurrency: int) -> None:
    """Print our speed as a ratio to the raw engine's.

    It is a ratio of times for one connection, else of rates with the engine's best batch size.
    """
    if concurrency == 1:
        what, ratios = "raw time", [run.p50_ms / 1000 * engine[1] for run, engine in zip(own, raw, strict=True)]
    else:
        what, ratios = "raw rate", [run.per_s / max(engine.values()) for run, engine in zip(own, raw, strict=True)]
    print(f"c={concurrency}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) x {what}")


def _arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data-dir", type=Path, required=True)
    options.add_argument("--image", type=Path, default=Path("tuneserve/digits/7.png"))
    options.add_argument("--rivals-python", type=Path, default=Path(sys.executable))
    names = ["tuneserve", "plain FastAPI, eager torch", "LitServe", "BentoML"]
    options.add_argument("--systems", nargs="+", default=names, choices=names)
    options.add_argument("--concurrency", nargs="+", type=int, default=CONCURRENCIES)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options.add_argument("--processes", type=int, default=1, help="service processes of tuneserve")
    options.add_argument("--batch", type=int, default=32, help="maximum images per run of tuneserve's network")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=8, help="seconds of each load")
    options.add_argument("--overload", action="store_true", help="measure only an overload")
    options.add_argument("--training", action="store_true", help="measure only predictions during a training")
    return options


if __name__ == "__main__":
    main()
