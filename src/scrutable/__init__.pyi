"""What type checkers see of the face: the same table as in `__init__.py` (a test compares the two)."""

from scrutable.core.errors import UserError as UserError
from scrutable.core.journal import Run as Run
from scrutable.core.journal import list_runs as list_runs
from scrutable.core.records import Task as Task
from scrutable.envs.loading import open_env as open_env
from scrutable.evolve.engine import EvolveConfig as EvolveConfig
from scrutable.evolve.engine import evolve as evolve
from scrutable.lenses.distill import DistillConfig as DistillConfig
from scrutable.lenses.distill import DistillLens as DistillLens
from scrutable.lenses.reading import read as read
from scrutable.lenses.tokens import TokensLens as TokensLens
from scrutable.measure.change import Change as Change
from scrutable.measure.change import Speaker as Speaker
from scrutable.measure.fidelity import measure as measure
from scrutable.measure.hearing import MeasureConfig as MeasureConfig
from scrutable.models.hf import load_model as load_model
from scrutable.models.loading import load_pair as load_pair
from scrutable.models.loading import open_model as open_model
from scrutable.programs.evaluate import evaluate as evaluate
from scrutable.report.page import report as report
from scrutable.train.rl import TrainConfig as TrainConfig
from scrutable.train.rl import train as train

__version__: str
