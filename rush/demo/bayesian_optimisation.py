"""Asynchronous decentralised Bayesian optimisation: workers tune a classifier of digits, nobody leads."""

import math
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

import rush

if TYPE_CHECKING:
    import pandas as pd

PARAMETERS = ("components", "log_c", "log_gamma")
IMAGES, DIGITS = load_digits(return_X_y=True)


def random_configuration() -> dict[str, Any]:
    """Draw a configuration: how many principal components to keep, and the support vector machine's C and gamma."""
    return {
        "components": random.randint(2, 64),
        "log_c": random.uniform(-3, 3),
        "log_gamma": random.uniform(-6, 0),
    }


def accuracy(components: int, log_c: float, log_gamma: float) -> float:
    """Train the model on real data and give its accuracy in three-fold cross-validation."""
    model = make_pipeline(PCA(components, random_state=0), SVC(C=10**log_c, gamma=10**log_gamma))
    with threadpool_limits(1):  # the workers share the cores already
        return float(cross_val_score(model, IMAGES, DIGITS, cv=3).mean())


def propose(finished: "pd.DataFrame") -> dict[str, Any]:
    """Fit a surrogate to everybody's results and give the configuration of which it expects most."""
    if len(finished) < 5:
        return random_configuration()
    surrogate = RandomForestRegressor(50, min_samples_leaf=2)
    surrogate.fit(finished[list(PARAMETERS)].to_numpy(float), finished["accuracy"].to_numpy(float))
    candidates = [random_configuration() for _ in range(500)]
    points = np.array([[xs[name] for name in PARAMETERS] for xs in candidates])
    trees = np.stack([tree.predict(points) for tree in surrogate.estimators_])
    # Each proposal weighs exploration anew, so that workers that see the same results do not propose the same.
    best = finished["accuracy"].max() + random.expovariate(100)
    return candidates[int(np.argmax(expected_improvement(trees.mean(0), trees.std(0) + 1e-9, best)))]


def expected_improvement(mean: "np.ndarray[Any, Any]", spread: "np.ndarray[Any, Any]", best: float) -> Any:
    """Say by how much each candidate is expected to be better than the best."""
    z = (mean - best) / spread
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in z])
    return spread * (z * below + density)


def evaluate(worker: rush.RushWorker, key: str, xs: dict[str, Any]) -> None:
    """Evaluate a configuration and share the result."""
    start = time.time()
    score = accuracy(**xs)
    worker.finish_tasks([key], [{"accuracy": score}], [{"start": start, "end": time.time()}])


def optimise(worker: rush.RushWorker, evaluations: int) -> None:
    """Work through the initial design, then propose, evaluate and share until there are enough results."""
    while (task := worker.pop_task(timeout=0)) is not None:
        evaluate(worker, task.key, task.xs or {})
    while worker.n_tasks < evaluations and not worker.terminated:
        xs = propose(worker.fetch_finished_tasks(fields=("xs", "ys")))
        (key,) = worker.push_running_tasks([xs])
        evaluate(worker, key, xs)


def main(evaluations: int = 40) -> None:
    """Start four workers and show what they found."""
    with rush.rsh() as net:
        net.push_tasks([random_configuration() for _ in range(evaluations // 4)])
        workers = net.start_local_workers(optimise, n_workers=4, evaluations=evaluations)
        net.wait_for_workers(worker_ids=workers, timeout=60)
        while net.n_running_workers:
            net.fetch_new_tasks(timeout=1)
        best = net.fetch_finished_tasks().nlargest(5, "accuracy")
        print(best[[*PARAMETERS, "accuracy", "worker_id"]].to_string())
        net.reset()


if __name__ == "__main__":
    main()
