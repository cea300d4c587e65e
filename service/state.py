"""What `create_app` built and the routes use, and how a route gets it."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from core.db import Database
from core.settings import Settings
from core.store import ArtifactStore
from service.batcher import Batcher
from service.reloader import Reloader


@dataclass(frozen=True)
class State:
    settings: Settings
    db: Database
    store: ArtifactStore
    reloader: Reloader
    batcher: Batcher
    decoders: Executor  # threads that turn bytes into images


def _state(request: Request) -> State:
    state: State = request.app.state.service
    return state


Service = Annotated[State, Depends(_state)]
