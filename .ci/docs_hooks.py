"""Pages of the reference that are generated: the commands from their --help, the recipe from its schema."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
HISTORY = ROOT / "results/HISTORY.md"
sys.path.insert(0, str(ROOT))

from tksbench.cli import COMMANDS  # noqa: E402
from tksbench.recipe import BuiltInOptim, Execution, catalogue, schema  # noqa: E402

PARTS_OF = ("neuron", "surrogate", "norm", "method", "augment", "mix", "convert", "features", "classifier", "schedule")
PARTS = (
    ("data", schema.DataSpec),
    ("model", schema.ModelSpec),
    *((f"{slot}: {name}", catalogue.kind(slot, name)) for slot in PARTS_OF for name in catalogue.names(slot)),
    ("method, neuron or norm from outside", catalogue.Sourced),
    ("optim", BuiltInOptim),
    ("evaluation", schema.EvalSpec),
    ("numerics", schema.NumericsSpec),
    ("execution", Execution),
)
CHOICES = {  # checked by a function, so that the type does not tell
    (part, "name"): ", ".join(f"`{name}`" for name in names)
    for part, names in (("data", catalogue.names("data")), ("model", catalogue.names("model")))
} | {("data", "source"): "`real`, `twin`, `stand-in`, `auto`"}
INTRO = """\
# Recipes

Generated from `schema.py` and `optim.py` of `tksbench/recipe` and the signatures of the components. A recipe has the
keys `about`, `name`, `seeds`, `first_seed`, `protocol`, `methods`, `runs`, `scales` and `execution`; `protocol`, a run
and a scale hold the parts below. A run is laid together from the protocol, the run's own parts, the scale's and the
command line's `KEY=VALUE`, in that order. An entry of `runs` may have a `name`, a `method`, `params` of it, a `grid`
(lists of values by key: a run for each combination) and be taken `from` another recipe; a scale may say `only` which
runs it has. All but `execution` is part of a run's identity; values at their default stay out of its hash.

A run is trained unless it says `kind: convert`, which has `data`, `evaluation`, `numerics`, `start` and `T` (time
steps of the test), or `kind: classic`, which has `data`, `evaluation`, `numerics`, `features` and a `classifier`.
`start` names the run whose weights it begins with, `{from: RECIPE, run: NAME, convert: COMPONENT}`: `from` is left
out for a run of the same recipe, and `convert`, what is done to that network first, may be left out where the run
is trained. That run is taken at the same scale and with the same seed, and trained first; of the command line it
takes `data`, `evaluation`, `numerics` and `execution`, or everything if it is of the same recipe.
"""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and the history that lies beside the records."""
    history = HISTORY.read_text().replace("](../docs/", "](")
    pages = {"reference/recipe.md": recipe(), "reference/commands.md": commands(), "history.md": history}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to the history lead to its page here."""
    return markdown.replace("](../results/HISTORY.md", "](history.md")


def commands() -> str:
    """What each command says of itself."""
    parts = ["# Commands", "`tksbench COMMAND` and `python -m tksbench.COMMAND` are the same."]
    environment = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    for name, (_, about) in COMMANDS.items():
        words = [sys.executable, "-m", f"tksbench.{name}", "--help"]
        told = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)  # noqa: S603
        parts += [f"## {name}", about.capitalize() + ".", f"```text\n{told.stdout.rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def recipe() -> str:
    """A table of each part's keys: type, default, and what the schema's source says beside it."""
    parts = [INTRO]
    for title, model in PARTS:
        parts += [f"## {title}", (model.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")]
        rows = ["| key | values | default | |", "|---|---|---|---|"]
        for name, comment in comments(model).items():
            if name != "name" or title in ("data", "model", "optim"):
                field = model.model_fields[name]
                told = CHOICES.get((title, name)) or values(field.annotation, field.metadata)
                default = "required"
                if not field.is_required():
                    default = f"`{shown(field.get_default(call_default_factory=True))}`"
                rows.append(f"| `{name}` | {told} | {default} | {escaped(comment)} |")
        parts.append("\n".join(rows) if len(rows) > 2 else "No parameters.")
    return "\n\n".join(parts) + "\n"


def comments(model: Any) -> dict[str, str]:
    """Each field's description, or its comment: on its own line, else on the lines just above it."""
    if issubclass(model, catalogue.Component) and model not in (schema.ModelSpec, schema.DataSpec, BuiltInOptim):
        return {name: field.description or "" for name, field in model.model_fields.items()}
    found = {"name": ""} if issubclass(model, catalogue.Component) else {}
    own = [part for part in reversed(model.__mro__) if issubclass(part, catalogue.Model)]
    for part in own:
        if part not in (catalogue.Model, catalogue.Component):
            found |= comments_in(textwrap.dedent(inspect.getsource(part)))
    return found


def comments_in(source: str) -> dict[str, str]:
    """The same of the fields that one class declares."""
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            told = lines[(node.end_lineno or 0) - 1][node.end_col_offset or 0 :].strip().removeprefix("#").strip()
            above = []
            for line in reversed(lines[: node.lineno - 1]):
                if not line.strip().startswith("#"):
                    break
                above.insert(0, line.strip().removeprefix("#").strip())
            found[node.target.id] = told or " ".join(above)
    return found


def values(annotation: Any, metadata: Any) -> str:
    """The allowed values in words: a choice, or a type with its bounds."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *more = typing.get_args(annotation)
        metadata = [*metadata, *more]
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{shown(choice)}`" for choice in typing.get_args(annotation))
    members = [one for one in typing.get_args(annotation) if one is not type(None)]
    if members and typing.get_origin(annotation) is not dict:  # a union with None
        return f"{' or '.join(values(one, metadata) for one in members)}, or none"
    bounds = [f"{word} {limit:g}" for word, limit in limits(metadata)]
    if isinstance(annotation, type) and issubclass(annotation, catalogue.Component):
        return "a component"
    names = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text"}
    return " ".join([names.get(annotation, "keys and values"), *bounds])


def limits(metadata: Any) -> Any:
    """Bounds in pydantic's metadata, which may be wrapped in a field of their own."""
    for item in metadata:
        yield from limits(getattr(item, "metadata", ()))
        for key, word in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below")):
            limit = getattr(item, key, None)
            if limit is not None:
                yield word, limit


def shown(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, catalogue.Component):
        return value.name
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)


def escaped(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", r"\|")
