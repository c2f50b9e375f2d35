from tests.measure.planted import PlantedModel

from scrutable.core.journal import Run
from scrutable.core.records import Generation, Task
from scrutable.measure.answers import answers_of, by_length, distinct_tasks, failures, within
from scrutable.measure.change import Speaker
from scrutable.measure.tab import Tab

TASKS = [Task.ask(f"what is {word} ?") for word in ("a", "bb", "ccc")]


def speaker():
    return Speaker(PlantedModel(lambda _: {"yes": 0.5, "no": 0.5}, ("yes", "no")))


def ask(run, batch=4, one=None):
    return answers_of(one or speaker(), by_length(distinct_tasks(TASKS)), 3, Tab(run), batch, 8)


def test_every_task_gets_its_answers_in_order():
    with Run.temporary() as run:
        said = ask(run)
    assert [(one.task, one.repeat) for one in said] == [(task, i) for task in TASKS for i in range(3)]


def test_equal_tasks_count_once():
    assert len(distinct_tasks([*TASKS, Task.ask("what is a ?")])) == 3


def test_which_tasks_come_first_does_not_depend_on_their_place():
    assert distinct_tasks(TASKS) == distinct_tasks(TASKS[::-1])


def test_the_answers_follow_the_runs_seed():
    drawn = []
    for seed in (1, 1, 2):
        with Run.temporary({"seed": seed}) as run:
            drawn.append([one.tokens for one in ask(run)])
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_recorded_batch_is_not_drawn_again():
    one = speaker()
    with Run.temporary() as run:
        first = ask(run, one=one)
        one.model.generate = None
        assert ask(run, one=one) == first


def test_an_answer_keeps_its_end_token_and_whether_it_ended():
    with Run.temporary() as run:
        said = ask(run)
    assert all(one.tokens[-1] == 1 and one.generation.complete and one.usable for one in said)


def test_what_drawing_costs_is_the_events_and_not_the_answers():
    with Run.temporary() as run:
        said = ask(run)
        assert run.cost().generations == 9
    assert {one.generation.usage.generations for one in said} == {0}


def test_failed_answers_are_counted():
    one = speaker()
    one.model._one = lambda conversation, sampling, row: Generation(failure="model: gone")
    with Run.temporary() as run:
        assert failures(ask(run, one=one)) == 9


def test_some_tasks_and_fewer_repeats_can_be_picked():
    with Run.temporary() as run:
        said = ask(run)
    assert [one.cell for one in within(said, {TASKS[1].key}, 2)] == [(TASKS[1].key, 0), (TASKS[1].key, 1)]
