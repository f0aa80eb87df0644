"""Put what stands below each field of the manifest's models into its JSON Schema.

pydantic can do it when it builds a model (`use_attribute_docstrings`), and then reads the source at every start; only
the schema needs it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from itertools import pairwise
from typing import Any


def describe(schema: dict[str, Any], models: Iterable[type]) -> None:
    """Add a description to every property of these models that has none; `schema` is changed in place."""
    for model in models:
        places = [schema] if schema.get("title") == model.__name__ else []
        if model.__name__ in schema.get("$defs", {}):
            places.append(schema["$defs"][model.__name__])
        for place in places:
            for field, text in _texts(model).items():
                said = place["properties"][field]
                place["properties"][field] = dict(sorted({"description": text, **said}.items()))


def _texts(model: type) -> dict[str, str]:
    """Return the text that stands right below each annotated name in the body of a class."""
    [body] = [each.body for each in ast.parse(inspect.getsource(model)).body if isinstance(each, ast.ClassDef)]
    found: dict[str, str] = {}
    for field, below in pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found[field.target.id] = inspect.cleandoc(below.value.value)
    return found
