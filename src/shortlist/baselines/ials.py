"""Implicit alternating least squares (Hu, Koren and Volinsky, 2008), by the package `implicit`."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shortlist.baselines.fitted import FactorScores
from shortlist.baselines.interactions import Interactions
from shortlist.baselines.threads import one_blas_thread
from shortlist.errors import MissingExtra


@dataclass(frozen=True)
class IALS:
    """Factors of the 0/1 matrix, observed cells weighing `alpha`, all others 1.

    Runs on one thread with a fixed seed, so that the same rows give the same factors.
    """

    factors: int = 32
    regularisation: float = 30.0
    alpha: float = 4.0
    iterations: int = 15
    seed: int = 42
    name: ClassVar[str] = "iALS"

    def fit(self, interactions: Interactions) -> FactorScores:
        """Raises `MissingExtra` when `implicit` is not installed."""
        model_class = _implicit()
        matrix = interactions.matrix
        with one_blas_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = model_class(
                factors=self.factors,
                regularization=self.regularisation,
                alpha=self.alpha,
                iterations=self.iterations,
                num_threads=1,
                random_state=self.seed,
                use_gpu=False,
            )
            model.fit(matrix, show_progress=False)
        return FactorScores(
            np.asarray(model.user_factors, np.float32),
            np.asarray(model.item_factors, np.float32),
            np.diff(matrix.indptr) > 0,
            interactions.popularity,
        )


def _implicit() -> type:
    """The model class; the package's advice about thread counts is not for our users."""
    logging.getLogger("implicit").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from implicit.als import AlternatingLeastSquares
    except ImportError as error:
        raise MissingExtra("implicit", "baselines", "The iALS baseline") from error
    return AlternatingLeastSquares  # type: ignore[no-any-return]
