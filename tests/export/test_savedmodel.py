"""What can be said of SavedModels without TensorFlow; `make test-savedmodel` runs the rest."""

from __future__ import annotations

import sys
import typing
from pathlib import Path

import pytest

from shortlist.api.savedmodels import write_savedmodel
from shortlist.errors import MissingExtra
from shortlist.export.savedmodel_features import ENCODERS
from shortlist.features.fitted import Fitted
from shortlist.features.history import Recent, Total


def test_every_kind_of_feature_has_operations() -> None:
    assert set(ENCODERS) == set(typing.get_args(Fitted)) - {Recent, Total}  # these two have methods


def test_the_extra_is_named_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtra, match=r"(?s)'tensorflow'.*\[tensorflow\]"):
        write_savedmodel(tmp_path / "no bundle", tmp_path / "model")
    assert not list(tmp_path.iterdir())
