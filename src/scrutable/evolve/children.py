"""Children: what is tried in a round. Texts that a writer proposes, their single sentences, and a merge of two candidates.

The writer sees a few tasks of a parent, bad and good ones together, so that it can tell when something is wanted. Sentences
are tried one by one on top of the parent, so that two things to say are found even if no one proposal says both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, zip_longest
from random import Random
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import ProposerFailure, boundary
from scrutable.core.records import Candidate, Rollout, Task, Usage
from scrutable.evolve.reflection import Item, Proposal, Proposer
from scrutable.evolve.select import Contender
from scrutable.evolve.sentences import added, sentences, union
