"""What the peers serve: the vectors and ids of our bundle, and its SavedModel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from environments import ROOT, install, python_of, variables

_WRITE = "import sys; from shortlist.api.savedmodels import write_savedmodel as w; w(*sys.argv[1:])"


def write_peer_data(bundle: Path, file: Path) -> None:
    """Ids, titles, users' last times, the vectors of users (at these times) and items, and what each user has
    seen (as pairs of positions)."""
    import shortlist as sl

    recommender = sl.load(bundle)
    users = list(recommender.users.vocabulary.values)
    user, item = recommender.users.seen.pairs()
    np.savez(
        file,
        users=np.array(users),
        times=np.asarray(recommender.users.columns["timestamp"], np.int64),
        items=np.array(recommender.items.ids.tolist()),
        titles=np.array(recommender.items.columns["title"].tolist()),
        user_vectors=recommender.query_vectors(users),
        item_vectors=np.asarray(recommender.item_vectors),
        seen_user=user,
        seen_item=item,
    )


def write_savedmodel(bundle: Path, folder: Path) -> None:
    """The bundle as a SavedModel, by an environment of its own that holds JAX and TensorFlow."""
    install("savedmodel")
    if (folder / "saved_model.pb").exists() and _made(folder) > _made(bundle):
        return
    print("writing the SavedModel ...", file=sys.stderr, flush=True)
    command = [str(python_of("savedmodel")), "-c", _WRITE, str(bundle), str(folder)]
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src")])}
    subprocess.run(command, check=True, env=variables("tensorflow") | path)


def _made(folder: Path) -> float:
    return folder.stat().st_mtime
