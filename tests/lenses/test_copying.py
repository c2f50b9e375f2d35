import numpy as np
from tests.lenses import made

from scrutable.lenses.contrast import count
from scrutable.lenses.copying import widest_copy
from scrutable.lenses.slices import slices_of, strongest

EVERY = np.ones(160, dtype=bool)


def agree(prompt, draws):
    return f"it is {made.opinion(prompt)} ." if made.opinion(prompt) else made.plain(prompt, draws)


def test_the_users_word_is_found_behind_each_of_its_wordings():
    answers = made.answers(made.plain, made.sometimes(0.95, agree))
    counts = count(answers, 4, 5)
    row, _ = strongest(counts, slices_of(answers.asked, 4, 5), EVERY)
    assert counts.features[row].kind == "copies"
    found = widest_copy(counts, row, answers, EVERY)
    assert {" ".join(run) for run in found.runs} == {"i think it is", "i guess", "my answer is"}
