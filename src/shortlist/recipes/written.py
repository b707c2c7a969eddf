"""A proposed recipe as a TOML file that a person can read and edit: every guess has its reason beside it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from shortlist.recipes.starting import Line, Start
from shortlist.specs.features import TableSpec
from shortlist.specs.recipe import DataSource, Recipe
from shortlist.specs.spec import Spec

_ROLES = ("user", "item", "timestamp", "rating", "event", "weight")
_KEYS = ("user's id", "item's id")
_UNPLAYED = {
    "timestamp": "no column was taken for times",
    "rating": "no column was taken for ratings",
    "weight": "no column was taken for weights of rows",
    "event": "no column was taken for types of events",
}
_ABOUT = {
    "history": "the user's last events, in order of time",
    "bag": "everything the user did, without order",
    "bag rated": "the same, with how they rated it",
    "past_count": "how many events the user had before",
    "past_gap": "how long ago the last one was",
    "user_id": "the user's own vector; unknown users share one",
    "item_id": "the item's own vector",
}
_SPLITS = 'others: "time=80%", "hold_last=1" (each user\'s last row), "random=80%"'
_WEIGHT = (
    "# the weight of the predicted rating in the final order is chosen on validation rows; to fix it:",
    "# rating_weight = 0.5",
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def written(start: Start, folder: Path) -> str:
    """The recipe as TOML, to be written into `folder`: files below the working folder are named as seen from
    there, others by their whole path. Reads back as the recipe, but for these paths."""
    recipe, about = start.recipe, _about(start.lines, start.recipe.data)
    lines = [
        f"# A recipe for {_plain(Path(recipe.data.interactions).name)}, proposed by `shortlist init`. Every"
        " guess has its reason beside it;",
        "# change what is wrong, then: shortlist train with this file. Every key is explained in"
        " docs/recipes.md.",
        *(f"# note: {_plain(note)}" for note in start.notes),
        f"name = {_value(recipe.name)}",
        "",
        *_data(start, folder),
        "",
        "[split]",
        f"# {_plain(start.split_reason)}",
        f"# {_SPLITS}",
        *_keys(recipe.split, always=("rule", "validation", "seed")),
        "",
        *(f"# {_plain(reason)}" for reason in start.reasons),
        *_model(recipe, about),
        "",
        "[training]",
        *_keys(recipe.training, always=("epochs", "batch_size", "optimizer", "seed")),
        "",
        "[evaluation]",
        *_keys(recipe.evaluation, always=("k", "baselines")),
        "",
        "[serving]",
        *(_WEIGHT if recipe.model.heads else ()),
        *_keys(recipe.serving, always=("retrieve",)),
    ]
    return "\n".join(lines) + "\n"


def _about(lines: Iterable[Line], source: DataSource) -> dict[tuple[str, str], Line]:
    """Lines of columns without a role, by table ("users", "items", "interactions") and column."""
    places = {getattr(source, table): table for table in ("interactions", "users", "items")}
    return {
        (places.get(line.table, ""), line.column): line
        for line in lines
        if line.what not in (*_ROLES, *_KEYS)
    }


def _data(start: Start, folder: Path) -> list[str]:
    """The section of the tables and their columns."""
    source = start.recipe.data
    roles = {line.what: line for line in start.lines if line.what in _ROLES}
    out = ["[data]"]
    for table in ("interactions", "users", "items"):
        if path := getattr(source, table):
            out.append(f"{table} = {_value(_seen_from(folder, path))}")
    for role in _ROLES:
        line, column = roles.get(role), getattr(source, role)
        why = _why(line) if line else f'{_UNPLAYED[role]}; to name one: {role} = "COLUMN"'
        out.append(f"{role} = {_value(column)}  # {_plain(why)}")
    if source.timestamp:
        told = "the unit of the times, or their form" if source.time_unit else "dates are ISO 8601"
        out.append(f"time_unit = {_value(source.time_unit)}  # {told}")
    out += [
        f"{key} = {_value(getattr(source, key))}  # the ids' column in that table"
        for key in ("user_key", "item_key")
        if getattr(source, key)
    ]
    if source.delimiter:
        out.append(f"delimiter = {_value(source.delimiter)}")
    return [*out, *_tables(source)]


def _tables(source: DataSource) -> list[str]:
    """Tables inside the section, which come last in it."""
    out: list[str] = []
    if source.event_weights:
        out += ["", "# what a row of each type counts; rows of a type that counts 0 are left out"]
        out += ["[data.event_weights]", *_pairs(source.event_weights)]
    if source.lists:
        out += ["", "# texts that hold several values, and the sign between these"]
        out += ["[data.lists]", *_pairs(source.lists)]
    return out


def _why(line: Line) -> str:
    could = f"; it could also be {' or '.join(map(repr, line.instead))}" if line.instead else ""
    return f"{line.why}{could}"


def _seen_from(folder: Path, path: str) -> str:
    """A path as seen from `folder`, where both lie below the working folder; else the whole path."""
    here, whole = Path.cwd(), Path(path).absolute()
    both = whole.is_relative_to(here) and folder.absolute().is_relative_to(here)
    near = whole.is_relative_to(folder.absolute())
    return Path(os.path.relpath(whole, folder.absolute())).as_posix() if both or near else whole.as_posix()


def _model(recipe: Recipe, about: Mapping[tuple[str, str], Line]) -> list[str]:
    """The model's sections: towers with a line a feature, then tasks."""
    model = recipe.model
    out = ["[model]", f"kind = {_value(_tag(model))}"]
    for side in ("query", "candidate"):
        out += ["", f"[model.{side}]", *_left_out(side, about), *_keys(getattr(model, side), about, side)]
    if hasattr(model, "tasks"):
        for task in model.tasks:
            out += ["", "[[model.tasks]]", *_keys(task, about)]
    else:
        out += ["", "[model.task]", *_keys(model.task, about)]
    return out


def _left_out(side: str, about: Mapping[tuple[str, str], Line]) -> list[str]:
    """Comments on the side's columns no feature is made of."""
    tables = ("items",) if side == "candidate" else ("users", "interactions")
    return [
        f"# left out: {_plain(column)} of the {table}: {_plain(line.why)}"
        for (table, column), line in about.items()
        if table in tables and line.what == "left out"
    ]


def _keys(
    spec: Spec,
    about: Mapping[tuple[str, str], Line] | None = None,
    side: str = "",
    *,
    always: tuple[str, ...] = (),
) -> list[str]:
    """A line a key that is not at its default, or is to be shown always; a feature a line."""
    out = [f"kind = {_value(_tag(spec))}"] if _tag(spec) and not side else []
    for field in msgspec.structs.fields(type(spec)):
        value = getattr(spec, field.name)
        usual = _usual(field)
        if (value == usual and field.name not in always) or value is None:
            continue
        if about is not None and field.name in ("features", "query", "candidate"):
            out += _listed(field.name, value, about, side or field.name)
        elif isinstance(value, tuple) and value and isinstance(value[0], Spec):
            out += [f"{field.name} = [", *(f"    {_value(one)}," for one in value), "]"]
        else:
            out.append(f"{field.name} = {_value(value)}")
    return out


def _listed(
    name: str, features: tuple[Any, ...], about: Mapping[tuple[str, str], Line], side: str
) -> list[str]:
    """A feature a line, after the reason for it."""
    out = [f"{name} = ["]
    for feature in features:
        if reason := _reason(feature, about, side):
            out.append(f"    # {_plain(reason)}")
        out.append(f"    {_value(feature)},")
    return [*out, "]"]


def _reason(feature: Any, about: Mapping[tuple[str, str], Line], side: str) -> str:
    tag, column = _tag(feature), getattr(feature, "column", "")
    if tag in ("history", "bag"):
        return _ABOUT["bag rated" if getattr(feature, "rated", False) else tag]
    for table in ("items",) if side == "candidate" else ("users", "interactions"):
        if (table, column) in about:
            return f"{column}: {about[table, column].why}"
    return _ABOUT.get(column, "")


def _usual(field: Any) -> Any:
    """A field's default; None where it is needed."""
    if field.required:
        return None
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items()]


def _value(value: Any) -> str:
    """A value as TOML on one line; of a declaration what differs from its defaults."""
    if isinstance(value, Spec):
        pairs = [f"kind = {_value(_tag(value))}"] if _tag(value) else []
        for field in msgspec.structs.fields(type(value)):
            found = getattr(value, field.name)
            usual = _usual(field)
            shown = isinstance(value, TableSpec) and field.name == "dim"
            if found is not None and (field.required or found != usual or shown) and found != ():
                pairs.append(f"{field.name} = {_value(found)}")
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f") if isinstance(value, str) else text


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _tag(spec: Any) -> str:
    return str(spec.__struct_config__.tag or "")


def _plain(text: str) -> str:
    """One line without control characters, as a comment must be."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
