"""Figures for the eye. matplotlib is optional and imported when something is drawn."""

from fastreg.plot.augmentation import AugmentationDisplay
from fastreg.plot.comparison import ComparisonDisplay
from fastreg.plot.learning import LearningCurveDisplay
from fastreg.plot.reliability import ReliabilityDisplay

__all__ = ["AugmentationDisplay", "ComparisonDisplay", "LearningCurveDisplay", "ReliabilityDisplay"]
