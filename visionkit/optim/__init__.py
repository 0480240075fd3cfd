"""Optimisers, schedules of the learning rate, and averaged weights."""

from . import schedule
from .ema import EMA
from .flat import clip_grad_norm
from .optimizer import Optimizer, parameter_groups
from .optimizers import SGD, AdaGrad, Adam, AdamW, RMSProp

__all__ = [
    "EMA",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSProp",
    "clip_grad_norm",
    "parameter_groups",
    "schedule",
]
