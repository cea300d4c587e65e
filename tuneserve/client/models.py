"""Calls for models and their aliases."""

from urllib.parse import quote

from tuneserve.client.connection import Connection
from tuneserve.types import Alias, DefaultName, Model


class ModelCalls(Connection):
    """Find models and choose those that serve."""

    def model(self, reference: str) -> Model:
        """Return a model by its id, or as `pets`, `pets/3` or `pets@best`."""
        return self._call(Model, "GET", f"/models/{quote(reference)}")

    def models(self, limit: int = 20, name: str | None = None) -> list[Model]:
        """Return the newest models, of a name or of all.

        Sends as many requests as that number of models takes.
        """
        return self._pages(Model, "/models", limit, name=name)

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
