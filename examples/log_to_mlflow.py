"""What `fit` tells of every epoch, as a run of MLflow with settings and bundle, in a database of one file."""

import mlflow

import shortlist as sl

data = sl.datasets.movielens("100k")
split = sl.splits.random(data, test=0.2, validation=0.1, seed=42)
model = sl.TwoTower(query=sl.Tower([sl.Id("user_id", 32)]), candidate=sl.Tower([sl.Id("item_id", 32)]))
mlflow.set_tracking_uri("sqlite:///mlflow.db")


def listen(progress):
    """A point for every figure of the epoch that ended."""
    for name, value in progress.figures.items():
        metric = name.replace(" of ", "/").replace(" ", "/").replace("@", "_at_")
        mlflow.log_metric(metric, value, step=progress.epoch)


with mlflow.start_run(run_name="two towers"):
    fitted = sl.fit(model, split, epochs=4, listen=listen)
    mlflow.log_params(fitted.training.to_dict())
    fitted.recommender().save("runs/two-towers")
    mlflow.log_artifacts("runs/two-towers", "bundle")
