"""Lines of delimited text: their numbers and fields, and which of them have more fields than columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator


def numbered_fields(text: str, delimiter: str, *, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """(number of the line, from 1, its fields); of a row of several lines the first one's. Slow: row by row.
    Raises csv.Error where quotes do not end."""
    if len(delimiter) > 1:
        yield from ((n, line.split(delimiter)) for n, line in enumerate(text.splitlines(), 1) if line)
        return
    csv.field_size_limit(2**31 - 1)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    before = 0
    for fields in reader:
        yield before + 1, fields
        before = reader.line_num


def too_long(text: str, delimiter: str, *, quoted: bool) -> str:
    """What is said of a text of which lines have more fields than the first ("line 5 has 3 fields, expected
    2, as line 1 (and 4 more such lines)"), or "" where none has."""
    first, wrong = (0, 0), []
    try:
        for line, fields in numbered_fields(text, delimiter, quoted=quoted):
            first = first if first[0] or not fields else (line, len(fields))
            if len(fields) > first[1]:
                wrong.append((line, len(fields)))
    except csv.Error:
        pass  # what came before is told all the same
    if not wrong:
        return ""
    more = len(wrong) - 1
    told = f"line {wrong[0][0]:,} has {wrong[0][1]} fields, expected {first[1]}, as line {first[0]}"
    return told + (f" (and {more:,} more such line{'s' if more > 1 else ''})" if more else "")
