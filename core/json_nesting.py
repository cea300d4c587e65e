"""Check how deeply JSON is nested before it is parsed.

Parsers and validators keep something for each level, and some copy all that is below it.
"""

import re

import numpy as np

from core.errors import InvalidInput

MAX_NESTING = 8  # levels; the deepest body of the contract, a tensor of /v2, has 7
BOM = b"\xef\xbb\xbf"  # some editors begin UTF-8 with it; JSON has none
ESCAPE = re.compile(rb"\\.", re.DOTALL)
STRING = re.compile(rb'"[^"]*(?:"|$)')
NO_MARKS = bytes(code for code in range(256) if code not in b'[]{}"')
STEPS = np.zeros(256, np.int8)
STEPS[[*b"[{"]], STEPS[[*b"]}"]] = 1, -1


def refuse_deep(data: bytes) -> None:
    """Raise InvalidInput if JSON is nested too deeply.

    That is more than MAX_NESTING levels. Also if it holds NUL, as JSON in UTF-16 or UTF-32 does.
    """
    if b"\0" in data:
        raise InvalidInput("The body is not JSON: it holds the character NUL. Send it in UTF-8.")
    if nesting(data) > MAX_NESTING:
        raise InvalidInput(f"The JSON is nested more than {MAX_NESTING} levels deep.")


def nesting(data: bytes) -> int:
    """Count the levels of nested arrays and objects in JSON.

    Of text that is no JSON it counts at least those before the first error.
    """
    if b"\\" in data:
        data = ESCAPE.sub(b"", data)
    marks = data.translate(None, NO_MARKS)
    if b'"' in marks:
        marks = STRING.sub(b"", marks)
    steps = STEPS[np.frombuffer(marks, np.uint8)]
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))
