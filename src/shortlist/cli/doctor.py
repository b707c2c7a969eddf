"""`shortlist doctor`: what is installed, what of it works, and what the machine gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from shortlist.cli.console import PROBLEM, Json, examples, out, out_json, table

if TYPE_CHECKING:
    from shortlist.api.examining import Examination

EXAMPLES = examples("shortlist doctor", "shortlist doctor --json")


def doctor(json: Json = False) -> None:
    """Say what is installed, what works, what the machine gives.

    Every part is really tried, in a process of its own. The exit code is 0 unless the base install itself,
    which recommends from bundles, is broken; a part that is missing or broken says what installs it.
    """
    from shortlist.api.examining import examine

    found = examine()
    if json:
        out_json(found.to_dict())
    else:
        out(text(found))
    if not found.well:
        raise typer.Exit(PROBLEM)


def text(found: Examination) -> str:
    """The examination as tables."""
    sections = {
        "Parts": table(["part", "status", "for", "seconds", ""], [_part(p.to_dict()) for p in found.parts]),
        "Versions": table(["package", "version"], [[name, v] for name, v in found.versions.items()]),
        "Machine": table(["what", "value"], _machine(found)),
        "Settings": table(["variable", "value"], [[k, v or "unset"] for k, v in found.settings.items()]),
        "Caches": table(["cache", "size", "files", "", "path"], [_cache(c) for c in found.caches]),
        "Disk": table(["place", "free", "", "path"], [_place(p) for p in found.disk]),
    }
    notes = [f"note: {said}" for said in found.notes] or ["no complaints"]
    return "\n\n".join([*(f"{title}\n{body}" for title, body in sections.items()), "\n".join(notes)])


def _part(found: dict[str, Any]) -> list[Any]:
    said = "; ".join(filter(None, (found["said"], found["install"])))
    seconds = f"{found['seconds']:.1f}" if found["seconds"] else None
    return [found["part"], found["status"], found["does"], seconds, said]


def _machine(found: Examination) -> list[list[Any]]:
    machine = found.machine
    quota = machine["cores_quota"]
    limit = "no quota" if quota is None else f"a quota of {quota:g}"
    free, total = (size(machine[key]) for key in ("memory_free_bytes", "memory_bytes"))
    return [
        ["system", machine["system"]],
        ["python", machine["executable"]],
        ["cores", f"{machine['cores_usable']} usable of {machine['cores']}, {limit}"],
        ["memory", f"{free} free of {total} ({machine['memory_limit']})"],
        ["JAX devices", ", ".join(found.devices) or "none"],
    ]


def _cache(found: dict[str, Any] | Any) -> list[Any]:
    may = "" if found["writable"] else "NOT WRITABLE"
    return [found["cache"], size(found["bytes"]), found["files"], may, found["path"]]


def _place(found: dict[str, Any] | Any) -> list[Any]:
    free = None if found["free_bytes"] is None else size(found["free_bytes"])
    return [found["place"], free, "" if found["writable"] else "NOT WRITABLE", found["path"]]


def size(nbytes: int) -> str:
    """Bytes for people."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.1f} {unit}"
    return f"{nbytes} bytes"
