"""The linear support vector machine on features, as HATS and DART use it: scikit-learn's, which is LIBLINEAR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from tksbench.component import component

if TYPE_CHECKING:
    from pydantic import Field


@component("classifier", "linear_svm")
def linear_svm(
    random_state: int,
    *,
    C: Annotated[float, Field(gt=0)] = 1.0,
    loss: Literal["squared_hinge", "hinge"] = "squared_hinge",
    intercept: bool = True,
    tol: Annotated[float, Field(gt=0)] = 1e-4,
    max_iter: Annotated[int, Field(ge=1)] = 10_000,
) -> Any:
    """A linear support vector machine, one class against the rest.

    Args:
        random_state: Seed of the order in which LIBLINEAR visits the samples.
        C: Weight of the errors against that of the margin.
        loss: Of a sample on the wrong side of its margin.
        intercept: Whether the planes may miss the origin.
        tol: Tolerance of the optimisation.
        max_iter: Passes after which it is given up.
    """
    from sklearn.svm import LinearSVC

    return LinearSVC(C=C, loss=loss, fit_intercept=intercept, tol=tol, max_iter=max_iter, random_state=random_state)
