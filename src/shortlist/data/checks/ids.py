"""Checks of ids: missing, of the wrong kind, written in several ways, absent from the tables of entities."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from shortlist.data.checks.finding import Check, Example, Hit, Severity
from shortlist.data.checks.subject import Subject, first, id_texts, quoted

PLACEHOLDERS = ("nan", "null", "none", "na", "n/a", "nil", "undefined", "unknown", "<na>", "\\n", "-", "?")
_SIDES = (("user_id", "users"), ("item_id", "items"))


def missing_ids(subject: Subject) -> Iterator[Hit]:
    """Rows without a user or an item."""
    for role, ids in (("user_id", subject.user), ("item_id", subject.item)):
        missing = ids.is_null()
        if count := int(missing.sum()):
            what = "rows have no id (null, empty or blank), so nobody knows whose or of what they are"
            yield Hit("error", count, len(ids), subject.shown(role), what, subject.examples(missing, role))


def float_ids(subject: Subject) -> Iterator[Hit]:
    """Ids that became decimal numbers."""
    for role in ("user_id", "item_id"):
        column = subject.rows[role]
        if column.dtype.is_float():
            what = "ids are decimal numbers: whole numbers become so in a column with gaps"
            every = pl.repeat(True, len(column), eager=True)
            yield Hit(
                "error", len(column), len(column), subject.shown(role), what, subject.examples(every, role)
            )


def placeholder_ids(subject: Subject) -> Iterator[Hit]:
    """Words such as 'nan' in place of an id."""
    for role, ids in (("user_id", subject.user), ("item_id", subject.item)):
        standing_in = ids.str.strip_chars().str.to_lowercase().is_in(PLACEHOLDERS)
        if count := int(standing_in.sum() or 0):
            what = "ids are words for a missing value; all these rows count as one busy user or item"
            examples = subject.examples(standing_in, role)
            yield Hit("warning", count, len(ids), subject.shown(role), what, examples)


def similar_ids(subject: Subject) -> Iterator[Hit]:
    """Ids that become equal when written in one way."""
    for role, counts in (("user_id", subject.user_counts), ("item_id", subject.item_counts)):
        alike = counts.with_columns(normalised(counts["id"]).alias("key"))
        groups = (
            alike.filter(pl.len().over("key") > 1)
            .sort("key", "rows", "id", descending=[False, True, False])
            .group_by("key", maintain_order=True)
            .agg("id")
        )
        if groups.height:
            count = int(groups["id"].list.len().sum()) - groups.height
            shown = groups["id"].head(subject.limits.examples).to_list()
            yield Hit(
                "warning",
                count,
                counts.height,
                subject.shown(role),
                "ids differ from another id only in case, white space, Unicode form, leading zeros or '.0'",
                tuple(Example(" and ".join(quoted(found) for found in group[:4])) for group in shown),
            )


def normalised(ids: pl.Series) -> pl.Series:
    """Ids without what people and programs change by accident."""
    plain = ids.str.normalize("NFKC").str.replace_all("[\u200b\u200c\u200d\u2060\ufeff\u00ad]", "")
    plain = plain.str.strip_chars().str.to_lowercase().str.replace_all(r"\s+", " ")
    return plain.str.replace(r"^(\d+)\.0+$", "${1}").str.replace(r"^0+(\d+)$", "${1}")


def absent_ids(subject: Subject) -> Iterator[Hit]:
    """Ids of the interactions that their own table does not hold."""
    for role, table in _SIDES:
        known, seen = _known(subject, role, table)
        if known is None:
            continue
        absent = seen.join(known, on="id", how="anti", maintain_order="left")
        if not absent.height:
            continue
        keys = known.select(normalised(known["id"]).alias("key")).unique()
        nearly = absent.select(normalised(absent["id"]).alias("key")).join(keys, on="key", how="semi").height
        none = absent.height == seen.height
        what = f"{table} of the interactions are not in the table of {table}" + (
            ", not one is" if none else ""
        )
        if nearly:
            what += f"; {nearly:,} of them are there, written in another way"
        examples = tuple(Example(quoted(found)) for found in absent["id"].head(subject.limits.examples))
        severity: Severity = "error" if none else "warning"
        yield Hit(severity, absent.height, seen.height, subject.shown(role), what, examples)


def idle_entities(subject: Subject) -> Iterator[Hit]:
    """Rows of the tables of entities that no interaction names."""
    for role, table in _SIDES:
        known, seen = _known(subject, role, table)
        if known is None:
            continue
        idle = known.join(seen, on="id", how="anti", maintain_order="left")
        if idle.height:
            what = f"{table} of their table have no row in the interactions: cold from the start"
            examples = tuple(Example(quoted(found)) for found in idle["id"].head(subject.limits.examples))
            yield Hit("note", idle.height, known.height, f"{table}.{role}", what, examples)


def _known(subject: Subject, role: str, table: str) -> tuple[pl.DataFrame | None, pl.DataFrame]:
    """The ids of the table of entities, and those of the interactions."""
    frame: pl.DataFrame | None = getattr(subject, table)
    seen = (subject.user_counts if role == "user_id" else subject.item_counts).select("id")
    if frame is None:
        return None, seen
    return id_texts(frame[role]).drop_nulls().unique(maintain_order=True).alias("id").to_frame(), seen


def entity_ids(subject: Subject) -> Iterator[Hit]:
    """Users or items that stand twice in their own table, or without an id."""
    for role, table in _SIDES:
        frame: pl.DataFrame | None = getattr(subject, table)
        if frame is None:
            continue
        ids = id_texts(frame[role])
        bad = ids.is_null() | ~ids.is_first_distinct()
        if count := int(bad.sum()):
            rows = first(bad, subject.limits.examples)
            examples = tuple(Example(f"{role}={quoted(frame[role][row])}", row) for row in rows)
            what = f"rows of the table of {table} have no id, or one that stood there before"
            yield Hit("error", count, frame.height, f"{table}.{role}", what, examples)


CHECKS = (
    Check("missing-ids", missing_ids, "drop the rows without an id"),
    Check("float-ids", float_ids, "convert the ids to integers or texts before the table is written"),
    Check(
        "placeholder-ids", placeholder_ids, "drop these rows, or leave the id empty to see them as missing"
    ),
    Check(
        "similar-ids",
        similar_ids,
        "write each id in one way before anything else: they are compared letter by letter, and what is one "
        "user or item in life is two here",
    ),
    Check("entity-ids", entity_ids, "keep one row an id"),
    Check(
        "absent-ids",
        absent_ids,
        "write ids in the same way in all tables; users and items without a row have no features",
    ),
    Check("idle-entities", idle_entities, "nothing, if they are new; else look whether rows were lost"),
)
