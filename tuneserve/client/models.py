"""Calls for models and their aliases."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tuneserve.client import frames, html
from tuneserve.client.connection import Connection
from tuneserve.client.errors import refusal
from tuneserve.client.images import Image
from tuneserve.client.predictions import PredictionCalls, Predictions, Report
from tuneserve.client.retries import Retries, wanted_pause
from tuneserve.types import Alias, DefaultName, Record
from tuneserve.types import Model as ModelFields

FORMATS = {".onnx": "onnx", ".safetensors": "safetensors", ".pt2": "torch_export"}


class Model(ModelFields):
    """A trained model, with the calls that need it."""

    def __init__(self, fields: ModelFields, calls: "ModelCalls") -> None:
        super().__init__(fields)
        self._calls = calls

    def predict(self, *images: Image, top_k: int = 3, progress: Report | None = None) -> Predictions:
        """Classify images with this model; see Client.predict."""
        return self._calls.predict(*images, top_k=top_k, model=self.id, progress=progress)

    def download(self, path: str | Path, format: str | None = None) -> Path:
        """Write the model's file and return its path.

        ``format``: onnx, safetensors or torch_export; default: after the suffix .onnx, .safetensors or .pt2.
        """
        path = Path(path)
        wanted = format or FORMATS.get(path.suffix)
        if wanted is None:
            raise ValueError(f"{path}: name it {', '.join(f'*{one}' for one in FORMATS)}, or give format=")
        self._calls.download(self.id, path, wanted)
        return path

    def report(self) -> Record:
        """Return the evaluation report: calibration, curves and worst mistakes."""
        return self._calls.report(self.id)

    def confusion_frame(self) -> Any:
        """Return the confusion matrix as a pandas DataFrame, its rows the true classes."""
        return frames.of_matrix(self.confusion_matrix, self.classes)

    def promote(self, alias: str = "serving") -> Alias:
        """Point an alias of the model's name at this version."""
        return self._calls.set_alias(self.name, alias, self.version)

    def _repr_html_(self) -> str:
        return html.model(self)


class ModelCalls(PredictionCalls, Connection):
    """Find models and choose those that serve."""

    def model(self, reference: str) -> Model:
        """Return a model by its id, or as `pets`, `pets/3` or `pets@best`."""
        return Model(self._call(ModelFields, "GET", f"/models/{quote(reference)}"), self)

    def models(self, limit: int = 20, name: str | None = None) -> list[Model]:
        """Return the newest models, of a name or of all.

        Sends as many requests as that number of models takes.
        """
        return [Model(one, self) for one in self._pages(ModelFields, "/models", limit, name=name)]

    def report(self, reference: str) -> Record:
        return self._call(Record, "GET", f"/models/{quote(reference)}/report")

    def download(self, reference: str, path: Path, format: str) -> None:
        """Write a model's file.

        It appears under its name once it is whole. A file that a worker makes first is waited for.
        """
        part = path.with_name(f"{path.name}.part")
        retries = Retries()
        while (pause := self._fetch(f"/models/{quote(reference)}/content", format, part, retries)) is not None:
            time.sleep(pause)
        part.replace(path)

    def _fetch(self, url: str, format: str, part: Path, retries: Retries) -> float | None:
        """Stream a file; return the pause before the next try if it is not there yet."""
        try:
            with self._http.stream("GET", url, params={"format": format}) as answer:
                if answer.is_error:
                    answer.read()
                    pause = retries.pause(wanted_pause(answer), f"GET {url}: HTTP {answer.status_code}")
                    if pause is None:
                        raise refusal(answer)
                    return pause
                with part.open("wb") as file:
                    file.writelines(answer.iter_bytes())
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return None

    def set_alias(self, name: str, alias: str, version: int) -> Alias:
        """Point an alias of a name at a version.

        With `serving` this promotes the version or rolls back to it.
        """
        path = f"/models/{quote(name, safe='')}/aliases/{quote(alias, safe='')}"
        return self._call(Alias, "PUT", path, json={"version": version})

    def default_name(self) -> DefaultName:
        """Return the name that answers where none is given."""
        return self._call(DefaultName, "GET", "/models/default")

    def pin_default(self, name: str) -> DefaultName:
        """Make a name the default one, whatever is published under others."""
        return self._call(DefaultName, "PUT", "/models/default", json={"name": name})

    def unpin_default(self) -> None:
        """Let the default name follow publications."""
        self._accepted("DELETE", "/models/default")
