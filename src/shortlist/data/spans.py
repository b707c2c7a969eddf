"""Lengths of time as people say them, wherever one is told."""

from __future__ import annotations


def span(seconds: float) -> str:
    """A length of time as people say it: 4.2 s, 45 s, 2 min 5 s, 12 min, 3 h 0 min, 2 days 4 h."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    if (whole := round(seconds)) < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    if (minutes := round(seconds / 60)) < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} day{'' if days == 1 else 's'} {hours} h"
