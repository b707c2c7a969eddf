"""What `fit` tells of every epoch, as curves: `tensorboard --logdir runs/board` shows them."""

from tensorboardX import SummaryWriter

import shortlist as sl

data = sl.datasets.movielens("100k")
split = sl.splits.random(data, test=0.2, validation=0.1, seed=42)
model = sl.TwoTower(query=sl.Tower([sl.Id("user_id", 32)]), candidate=sl.Tower([sl.Id("item_id", 32)]))
board = SummaryWriter("runs/board")


def listen(progress):
    """A point for every figure of the epoch that ended."""
    for name, value in progress.figures.items():
        tag = name.replace(" of ", "/").replace(" ", "/").replace("@", "_at_")
        board.add_scalar(tag, value, progress.epoch)


fitted = sl.fit(model, split, epochs=4, listen=listen)
board.add_text("model", model.to_toml())
board.close()
