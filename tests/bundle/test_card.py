"""The model card: what the manifest says, for people; texts of data and recipe cannot write in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from shortlist import bundle
from shortlist.bundle.card import card, shown
from shortlist.bundle.manifest import Manifest, read

HOSTILE = "x](http://evil) <script>alert(1)</script> | `rm` **b** _i_ # $a$ \\ & \n# Heading\n| a |\u202e~~"


@pytest.fixture(scope="module")
def manifest(saved: Path) -> Manifest:
    figures = {"rmse": {"value": 0.95, "low": 0.9, "high": 1.0}, "filtered ndcg@10 (user)": {"value": 0.25}}
    return msgspec.structs.replace(
        read(saved),
        provenance={
            "recipe": {"name": "mine"},
            "data": {"name": "events", "fingerprint": "abc", "described": {"interactions": 12_345}},
            "split": {"rule": "time=80%", "seed": 7, "leaks": "nothing"},
            "seed": 42,
            "metrics": [
                {"name": "popular", "role": "baseline", "figures": {"rmse": {"value": None}}},
                {"name": "Shortlist", "role": "model", "figures": figures},
            ],
            "evaluation": {"headline": ["rmse", "filtered ndcg@10 (user)"], "verdicts": ["it loses"]},
            "weights": {
                "type": "int8",
                "bytes": 1000,
                "float32_bytes": 4000,
                "measured_on": "held-out rows",
                "metrics": {"rmse": {"before": 0.95, "after": 0.9501, "low": 0.0, "high": 0.0002}},
            },
        },
        licence={"bundle": "MIT", "data": ""},
    )


def test_it_says_what_the_manifest_says(manifest: Manifest) -> None:
    text = card(manifest)
    for part in (
        "# Model card: mine",
        "A recommender of 60 items: ",
        "- What training could know of the test rows of the figures: nothing.",
        "- Rows: 12,345",
        "- Fingerprint (sha256 of the rows): abc",
        "- Licence of the data: not stated",
        "- Licence of this bundle: MIT",
        "- Seeds: training 42, split 7",
        "| popular | - | - |",
        "| Shortlist | 0.9500 (0.9000 to 1.0000) | 0.2500 |",
        "- it loses",
        "Tables in int8: 1,000 bytes of 4,000.\nWhat that costs, on held-out rows:",
        "| rmse | 0.9500 | 0.9501 | 0.0000 to 0.0002 |",
        "com.microsoft: Tokenizer",
        "the ids of 25 users",
    ):
        assert part in text, part
    assert text.count("\n## ") == 7 and "None" not in text


def test_a_bundle_without_provenance_has_a_card(manifest: Manifest) -> None:
    text = card(msgspec.structs.replace(manifest, provenance={}, licence={}))
    assert text.startswith("# Model card\n") and "None were measured" in text


def test_what_was_left_out_is_said(manifest: Manifest) -> None:
    without = {"users": "left out", "weights": {"type": "bf16", "not_measured": "no data"}, "metrics": 3}
    text = card(msgspec.structs.replace(manifest, provenance=without))
    assert "What is known of users was left out." in text
    assert "What that costs was not measured: no data." in text


def test_texts_cannot_write_in_it(saved: Path, tmp_path: Path) -> None:
    loaded = bundle.load(saved)
    hostile = {
        "data": {"name": HOSTILE, "licence": HOSTILE},
        "metrics": [{"name": HOSTILE, "figures": {HOSTILE: {"value": HOSTILE}}}],
        "evaluation": {"headline": [HOSTILE], "verdicts": [HOSTILE, 3], "slices": "?", "warnings": {}},
        "split": HOSTILE,
        "seed": HOSTILE,
        "weights": {"type": HOSTILE, "bytes": HOSTILE, "metrics": {HOSTILE: HOSTILE}, "warnings": [HOSTILE]},
        "created": HOSTILE,
        "intended_use": HOSTILE,
    }
    replace(loaded, provenance=hostile).save(tmp_path / "b")
    text = (tmp_path / "b" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "\u202e" not in text and "\n# Heading" not in text and "<script" not in text.replace("\\<", "")
    assert "evil" in text and "evil" not in text.replace(shown(HOSTILE), "")
    assert not set(re.sub(r"\\.", "", shown(HOSTILE))) & set("[]<>|`*_#$&~\\")
    assert "MODEL_CARD.md" in bundle.verify(tmp_path / "b")["files"]


def test_signs_are_escaped_and_nothing_else() -> None:
    assert shown("a_b\\[c](d) | <e> `f` & 1,5 %") == r"a\_b\\\[c\](d) \| \<e\> \`f\` \& 1,5 %"
    assert shown(None) == "" and shown(3) == "3"


def test_retired_items_are_not_counted_and_created_is_the_model_s(saved: Path, tmp_path: Path) -> None:
    loaded = bundle.load(saved)
    loaded.remove_items(["m1", "m2"]).save(tmp_path / "b")
    text = (tmp_path / "b" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "A recommender of 58 items" in text and "first was" in text
    assert "graphs and encoder.json hold these" in text
    assert bundle.inspect(tmp_path / "b")["created"] == bundle.inspect(saved)["created"]
