"""Calls for API keys."""

from collections.abc import Sequence
from urllib.parse import quote

from tuneserve.client.connection import Connection
from tuneserve.types import Key, MadeKey


class KeyCalls(Connection):
    """Create, list and revoke API keys."""

    def add_key(self, name: str, scopes: Sequence[str], models: Sequence[str] | None = None) -> MadeKey:
        """Create an API key; only this response holds the key itself.

        ``models``: the names of the models that it may use; default: all.
        """
        wanted = {"name": name, "scopes": list(scopes), "models": list(models) if models else None}
        return self._call(MadeKey, "POST", "/keys", json=wanted)

    def keys(self) -> list[Key]:
        return self._list(Key, "/keys")

    def revoke_key(self, key_id: str) -> None:
        self._accepted("DELETE", f"/keys/{quote(key_id, safe='')}")
