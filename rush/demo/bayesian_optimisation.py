"""Asynchronous decentralised Bayesian optimisation: workers tune a classifier of digits, nobody leads."""

import random
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

import rush

PARAMETERS = ["components", "log_c", "log_gamma"]
LOWER, UPPER = (2, -3, -6), (64, 3, 0)
IMAGES, DIGITS = load_digits(return_X_y=True)


def random_configuration() -> dict[str, Any]:
    """Draw a configuration: how many principal components to keep, and the support vector machine's C and gamma."""
    values = [random.uniform(low, high) for low, high in zip(LOWER, UPPER, strict=True)]
    return dict(zip(PARAMETERS, [round(values[0]), *values[1:]], strict=True))


def accuracy(components: int, log_c: float, log_gamma: float) -> float:
    """Train the model on real data and give its accuracy in three-fold cross-validation."""
    model = make_pipeline(PCA(components, random_state=0), SVC(C=10**log_c, gamma=10**log_gamma))
    return float(cross_val_score(model, IMAGES, DIGITS, cv=3).mean())


def propose(finished: pd.DataFrame) -> dict[str, Any]:
    """Fit a surrogate to everybody's results and give the configuration of which it expects most."""
    if len(finished) < 5:
        return random_configuration()
    scores = -np.log10(1.001 - finished["accuracy"].to_numpy(float))
    kernel = Matern([0.3] * 3, (0.05, 5), nu=2.5) + WhiteKernel(0.01, (1e-3, 1))
    surrogate = GaussianProcessRegressor(kernel, normalize_y=True)
    with warnings.catch_warnings(action="ignore"):  # a kernel parameter at its bound does no harm
        surrogate.fit(scaled(finished), scores)
    candidates = [random_configuration() for _ in range(1000)]
    mean, spread = surrogate.predict(scaled(pd.DataFrame(candidates)), return_std=True)
    # Each proposal weighs exploration anew, so that workers that see the same results do not propose the same.
    best = scores.max() + random.expovariate(50)
    return candidates[int(np.argmax(expected_improvement(mean, spread, best)))]


def scaled(configurations: pd.DataFrame) -> Any:
    """Put every parameter between 0 and 1."""
    return (configurations[PARAMETERS].to_numpy(float) - LOWER) / (np.array(UPPER) - LOWER)


def expected_improvement(mean: Any, spread: Any, best: float) -> Any:
    """Say by how much each candidate is expected to be better than the best."""
    z = (mean - best) / spread
    return spread * (z * norm.cdf(z) + norm.pdf(z))


def evaluate(worker: rush.RushWorker, key: str, xs: dict[str, Any]) -> None:
    """Evaluate a configuration and share the result."""
    start = time.time()
    score = accuracy(**xs)
    worker.finish_tasks([key], [{"accuracy": score}], [{"start": start, "end": time.time()}])


def optimise(worker: rush.RushWorker, evaluations: int) -> None:
    """Work through the initial design, then propose, evaluate and share until there are enough results."""
    threadpool_limits(1)  # the workers share the cores already
    while (task := worker.pop_task(timeout=0)) is not None:
        evaluate(worker, task.key, task.xs or {})
    while worker.n_tasks < evaluations and not worker.terminated:
        xs = propose(worker.fetch_finished_tasks(fields=("xs", "ys")))
        (key,) = worker.push_running_tasks([xs])
        evaluate(worker, key, xs)


def main(evaluations: int = 30) -> None:
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
