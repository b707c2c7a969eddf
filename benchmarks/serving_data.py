"""The one model that serving is measured with, as our bundle and as a TensorFlow SavedModel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from environments import ROOT, install, python_of, variables

ROWS = 100
_WRITE = "import sys; from shortlist.api.savedmodels import write_savedmodel as w; w(*sys.argv[1:])"


def write_serving(folder: Path) -> None:
    """Write `bundle`, `savedmodel` (by an environment of its own that holds JAX and TensorFlow) and
    `rows.npz`, raw columns of 100 test rows. Made anew each time, since both are made by today's code."""
    folder.mkdir(parents=True, exist_ok=True)
    print("training and writing the model that serving is measured with ...", file=sys.stderr, flush=True)
    # in a process of its own: what measures afterwards is started by a small one
    command = [str(python_of("project")), __file__, str(folder)]
    subprocess.run(command, check=True, env=variables("project"))
    install("savedmodel")
    shutil.rmtree(folder / "savedmodel", ignore_errors=True)
    command = [str(python_of("savedmodel")), "-c", _WRITE, str(folder / "bundle"), str(folder / "savedmodel")]
    path = os.pathsep.join([str(ROOT / "src")])
    subprocess.run(command, check=True, env=variables("tensorflow") | {"PYTHONPATH": path})


def _write_bundle(folder: Path) -> None:
    """Two towers of ids, time and title, 64 and 32 numbers wide, and a rating by layers of 256 and 64, as in
    the tutorials without biases of users and items."""
    import shortlist as sl

    data = sl.datasets.movielens("100k")
    split = sl.splits.random(data, test=0.2, seed=42)
    model = sl.MultiTask(
        query=sl.Tower(
            [sl.Id("user_id", 32), sl.Bucket("timestamp", 1000, 32), sl.Normalize("timestamp")],
            hidden=[64],
            out=32,
        ),
        candidate=sl.Tower([sl.Category("title", 32), sl.Text("title", 10_000, 32)], hidden=[64], out=32),
        tasks=[sl.Retrieval(), sl.Rating("rating", hidden=[256, 64], biases=False)],
    )
    fitted = sl.fit(model, split, epochs=3, batch_size=8192, optimizer=sl.Adagrad(0.1), seed=42)
    fitted.recommender(rating_weight=0.1).save(folder / "bundle")
    rows = split.test.head(ROWS).join(split.items, on="item_id", maintain_order="left")
    np.savez(
        folder / "rows.npz",
        user_id=np.array(rows["user_id"].to_list()),
        title=np.array(rows["title"].to_list()),
        timestamp=rows["timestamp"].to_numpy().astype(np.int64),
        titles=np.array(split.items["title"].to_list()),
        users=np.array(split.users["user_id"].to_list()),
    )


if __name__ == "__main__":
    _write_bundle(Path(sys.argv[1]))
