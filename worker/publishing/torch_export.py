"""Export a published model: ``python -m worker.publishing.torch_export [MODEL] [FILE]``.

A worker runs it when it is requested over HTTP.

It is made on request only. With each ResNet-50, publishing would take 8 s longer on one core of an Intel Xeon at
2.80 GHz (torch 2.15.0, November 2026), and the model another 95 MB. The program needs none of our code::

    import json, torch

    about = {"model.json": ""}
    program = torch.export.load("model.pt2", extra_files=about)
    about = json.loads(about["model.json"])  # classes, preparation, temperature
    images = torch.zeros(1, 28, 28, 1, dtype=torch.uint8)  # any number of them, in the size that preparation says
    probabilities = (program.module()(images) / about["temperature"]).softmax(1)
"""

import argparse
import io
import json
import os
import sys
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from core.artifacts.manifest import read_tensors
from core.artifacts.model_files import CARD, SELF_TEST_SAMPLES, TORCH_EXPORT, WEIGHTS
from core.artifacts.store import ArtifactStore, LocalStore
from core.db.database import Database
from core.db.tables import Model
from core.errors import InternalFailure, TuneserveError
from core.imaging.preparation import Preparation
from core.inference.network import ServingGraph
from core.inference.onnx_predictor import temperature_of
from core.repositories import exports, models
from core.settings import Settings
from worker.processes.parent_death import die_with_parent
from worker.publishing.onnx_export import PARITY_TOLERANCE, filled


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m worker.publishing.torch_export", description="Write a model as a .pt2 file."
    )
    parser.add_argument("model", nargs="?", help="id, pets, pets/3 or pets@best; default: the default name")
    parser.add_argument("file", nargs="?", type=Path, help="file to write; default: <id>.pt2")
    parser.add_argument("--keep", action="store_true", help="write it next to the model's files instead")
    given = parser.parse_args()
    settings = Settings()
    with closing(Database(settings.resolved_database_url)) as db:
        db.migrate()
        try:
            return _keep(settings, db, given.model) if given.keep else _write(settings, db, given.model, given.file)
        except TuneserveError as error:
            sys.stderr.write(f"{error}\n")
            return 1


def _write(settings: Settings, db: Database, reference: str | None, file: Path | None) -> int:
    with db.read() as session:
        model = models.find_whole(session, reference)
    program, difference = export(model, LocalStore(settings.data_dir))
    path = file or Path(f"{model.id}.pt2")
    path.write_bytes(program)
    sys.stdout.write(f"{path}: {len(program) / 1e6:.0f} MB; largest difference of a probability {difference:.1g}\n")
    return 0


def _keep(settings: Settings, db: Database, model_id: str) -> int:
    """Store the program, then record success or failure in its row."""
    die_with_parent()
    os.nice(settings.train_niceness)
    store = LocalStore(settings.data_dir)
    try:
        with db.read() as session:
            model = models.find_whole(session, model_id)
        store.put(f"{model.key}/{TORCH_EXPORT}", export(model, store)[0])
    except Exception as error:  # the process's edge
        with db.write() as session:
            exports.fail(session, model_id, str(error) or type(error).__name__)
        raise
    with db.write() as session:
        exports.succeed(session, model_id)
    return 0


def export(model: Model, store: ArtifactStore) -> tuple[bytes, float]:
    """Return the program's file, and its difference from the network.

    The difference is the largest one between two probabilities for the model's self-test samples, real test images. The
    program takes ``images`` uint8 [n, h, w, c] and gives logits, float [n, classes]. InternalFailure if the difference
    is too large.
    """
    graph = _graph(model, store)
    images = torch.from_numpy(read_tensors(store, model.key, SELF_TEST_SAMPLES)["images"])
    about = {"id": model.id, "classes": model.card["classes"], "preparation": model.card["preparation"]}
    data = _program(graph, images, json.dumps(about | {"temperature": temperature_of(model)}))
    difference = parity(data, graph, images)
    if not difference <= PARITY_TOLERANCE:  # nan too
        raise InternalFailure(f"The program differs from the network by {difference:.2g} in a probability.")
    return data, difference


@torch.inference_mode()
def parity(program: bytes, graph: ServingGraph, images: Tensor) -> float:
    """Return the largest difference between probabilities of network and program.

    Both run on the same images.
    """
    loaded = torch.export.load(io.BytesIO(program)).module()
    return float((loaded(images).softmax(1) - graph.look(images)[0].softmax(1)).abs().max())


def _graph(model: Model, store: ArtifactStore) -> ServingGraph:
    preparation = Preparation.model_validate(model.card["preparation"])
    weights = read_tensors(store, model.key, WEIGHTS)
    return filled(weights, model.card["network"], len(model.card["classes"]), preparation)


def _program(graph: ServingGraph, images: Tensor, about: str) -> bytes:
    file = io.BytesIO()
    with torch.no_grad():
        any_number = {"images": {0: torch.export.Dim.DYNAMIC}}
        program = torch.export.export(graph, (images[:2],), dynamic_shapes=any_number)
    torch.export.save(program, file, extra_files={CARD: about})
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
