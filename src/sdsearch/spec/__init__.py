"""What a run is: one YAML file as checked objects."""

from sdsearch.spec.experiment import Experiment, load
from sdsearch.spec.objective import Objective, Phase, Source, Stage
from sdsearch.spec.sections import Budget, Data, Evaluate, Train

__all__ = ["Budget", "Data", "Evaluate", "Experiment", "Objective", "Phase", "Source", "Stage", "Train", "load"]
