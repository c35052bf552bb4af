"""The median stopping rule: a model stops training where it does worse than half of all models did at that point."""

import random
import statistics
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import rush

EPOCHS = 20
TRAIN_X, TEST_X, TRAIN_Y, TEST_Y = train_test_split(*load_digits(return_X_y=True), test_size=0.4, random_state=0)


def random_configuration() -> dict[str, Any]:
    """Draw the strength of regularisation and the learning rate."""
    return {"alpha": 10 ** random.uniform(-6, 1), "eta0": 10 ** random.uniform(-6, 0)}


def train(worker: rush.RushWorker, models: int) -> None:
    """Train models epoch by epoch; each epoch is a task, so that everybody sees all learning curves as they grow."""
    while not worker.terminated:
        finished = worker.fetch_finished_tasks()
        if not finished.empty and finished["model"].nunique() >= models:
            break
        model = f"{worker.worker_id}-{len(finished)}"
        xs = random_configuration()
        classifier = SGDClassifier(learning_rate="constant", **xs)
        curve: list[float] = []
        for epoch in range(EPOCHS):
            (key,) = worker.push_running_tasks([{**xs, "model": model, "epoch": epoch}])
            classifier.partial_fit(TRAIN_X / 16, TRAIN_Y, classes=np.arange(10))
            curve.append(float(classifier.score(TEST_X / 16, TEST_Y)))
            worker.finish_tasks([key], [{"accuracy": curve[-1]}])
            if is_hopeless(worker, model, epoch, curve):
                break


def is_hopeless(worker: rush.RushWorker, model: str, epoch: int, curve: list[float]) -> bool:
    """Say whether the best so far is below the median of the other models' averages up to this epoch."""
    finished = worker.fetch_finished_tasks()
    others = finished[(finished["epoch"] <= epoch) & (finished["model"] != model)].groupby("model")
    averages = [float(group["accuracy"].mean()) for _, group in others if len(group) == epoch + 1]
    return len(averages) >= 3 and max(curve) < statistics.median(averages)


def main(models: int = 40) -> None:
    """Start four workers, and show the best models and how much training the rule saved."""
    with rush.rsh() as net:
        workers = net.start_local_workers(train, n_workers=4, models=models)
        net.wait_for_workers(worker_ids=workers, timeout=60)
        while net.n_running_workers:
            net.fetch_new_tasks(timeout=1)
        finished = net.fetch_finished_tasks()
        last = finished.sort_values("epoch").groupby("model").tail(1)
        print(last.nlargest(5, "accuracy")[["alpha", "eta0", "epoch", "accuracy", "worker_id"]].to_string())
        print(f"{len(last)} models, {len(finished)} epochs trained of {len(last) * EPOCHS}")
        net.reset()


if __name__ == "__main__":
    main()
