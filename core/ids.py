"""Names for new rows: time first, so that they sort by age, then enough chance that no two meet."""

import secrets


def new_id(kind: str, now: float) -> str:
    return f"{kind}_{int(now * 1000):011x}{secrets.token_hex(5)}"
