"""Several modules in sequence."""

import pytest

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Message, Sampling, Task
from scrutable.models.replay import ScriptedModel
from scrutable.programs.base import Program
from scrutable.programs.modules import Module, Pipeline

TWO = Pipeline([Module("plan"), Module("answer", "{input} | {plan}")])


def echo(conversation: Conversation) -> str:
    return "+".join(m.content for m in conversation)


def run(program: Pipeline, task: Task, model: ScriptedModel | None = None, **texts: str) -> str:
    made = program.run(model or ScriptedModel(echo), {"plan": "", "answer": "", **texts}, [task], Sampling())
    return made[0].answer


def test_it_is_a_program() -> None:
    assert isinstance(TWO, Program)
    assert TWO.modules == ("plan", "answer")


def test_a_module_sees_the_task_and_earlier_outputs() -> None:
    assert run(TWO, Task.ask("q")) == "q | q"


def test_each_module_has_its_own_text() -> None:
    assert run(TWO, Task.ask("q"), plan="P", answer="A") == "A+q | P+q"


def test_the_tasks_own_system_prompt_stays() -> None:
    task = Task(messages=(Message(role="system", content="S"), Message(role="user", content="q")))
    assert run(TWO, task, answer="A") == "S\n\nA+q | S+q"


def test_braces_of_tasks_and_outputs_are_left_alone() -> None:
    assert run(TWO, Task.ask("{plan} {x} {}")) == "{plan} {x} {} | {plan} {x} {}"


def test_usage_sums_over_modules() -> None:
    model = ScriptedModel(lambda conversation: "a b c")
    made = TWO.run(model, {"plan": "", "answer": ""}, [Task.ask("q")], Sampling())
    assert (made[0].usage.generations, made[0].usage.answer_tokens) == (2, 6)


def test_a_task_that_failed_goes_no_further_and_says_where() -> None:
    asked: list[str] = []

    def script(conversation: Conversation) -> str:
        asked.append(conversation[-1].content)
        if conversation[-1].content == "bad":
            raise ValueError("no")
        return "out"

    made = TWO.run(ScriptedModel(script), {"plan": "", "answer": ""}, [Task.ask("bad"), Task.ask("good")], Sampling())
    assert asked == ["bad", "good", "good | out"]
    assert made[0].failure == "module plan: model: ValueError: no"
    assert (made[1].failure, made[1].answer) == (None, "out")


def test_modules_are_drawn_with_different_seeds() -> None:
    class Seeing(ScriptedModel):
        seeds: list[int] = []  # noqa: RUF012

        def generate(self, conversations, sampling):
            self.seeds.append(sampling.seed)
            return super().generate(conversations, sampling)

    model = Seeing(echo)
    run(TWO, Task.ask("q"), model)
    assert len(set(model.seeds)) == 2


@pytest.mark.parametrize(
    "modules",
    [[], [Module("a"), Module("a")], [Module("input")], [Module("a", "{b}"), Module("b")], [Module("a", "{a}")]],
)
def test_what_cannot_run_is_refused_at_once(modules: list[Module]) -> None:
    with pytest.raises(UserError):
        Pipeline(modules)
