"""Recipes: the paper's protocol as data, expanded to runs with an identity. Imports no torch and no numpy."""

from __future__ import annotations

from tksbench.recipe.errors import Problem, RecipeError, suggest
from tksbench.recipe.execution import Execution
from tksbench.recipe.expand import Recipe, expand, load_recipe
from tksbench.recipe.identity import canonical, group_id, run_and_group_id, run_id
from tksbench.recipe.optim import BuiltInOptim, OptimSpec
from tksbench.recipe.run import Run
from tksbench.recipe.schema import (
    SCALES,
    ClassicSpec,
    ConvertSpec,
    DataSpec,
    EvalSpec,
    ModelSpec,
    NumericsSpec,
    RunSpec,
    Start,
    TrainSpec,
)

__all__ = [
    "SCALES",
    "BuiltInOptim",
    "ClassicSpec",
    "ConvertSpec",
    "DataSpec",
    "EvalSpec",
    "Execution",
    "ModelSpec",
    "NumericsSpec",
    "OptimSpec",
    "Problem",
    "Recipe",
    "RecipeError",
    "Run",
    "RunSpec",
    "Start",
    "TrainSpec",
    "canonical",
    "expand",
    "group_id",
    "load_recipe",
    "run_and_group_id",
    "run_id",
    "suggest",
]
