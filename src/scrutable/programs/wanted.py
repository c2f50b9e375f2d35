"""Which program an environment wants: one text, unless it says otherwise.

An environment that needs several modules has an attribute `modules`: their names, in order, each with the template of what it
is asked (see `modules.py`). It is handed what all of them said, one section each (see `joined.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from scrutable.core.errors import UserError
from scrutable.envs.base import Environment
from scrutable.programs.base import Program
from scrutable.programs.joined import Joined
from scrutable.programs.modules import Module
from scrutable.programs.text import SingleText


def program_for(env: Environment) -> Program:
    """Return the program that an environment wants.

    Errors: UserError when its `modules` are no mapping of names to templates, or cannot run in that order.
    """
    wanted = getattr(env, "modules", None)
    if not wanted:
        return SingleText()
    if not isinstance(wanted, Mapping) or not all(isinstance(one, str) for pair in wanted.items() for one in pair):
        raise UserError(f"{env.name}: `modules` must map the names of modules to the templates of what they are asked")
    return Joined([Module(name, template) for name, template in wanted.items()])
