"""Start a service with API keys of each scope.

Some scopes have a second one.
"""

from pydantic import SecretStr

from core.settings import Settings

SCOPES = {
    "boss": "admin",
    "trainer": "train",
    "trainer2": "train",
    "reader": "read",
    "asker": "predict",
    "asker2": "predict",
}
SECRETS = {name: f"s3cret-of-{name}-" * 2 for name in SCOPES}
GIVEN = " ".join(f"{name}:{scope}:{SECRETS[name]}" for name, scope in SCOPES.items())


def with_keys(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_keys": SecretStr(GIVEN)})


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[name]}"}
