"""An environment for the tests of training: rated by the words of the answer, so that any tiny model can learn it."""

from collections.abc import Sequence

from scrutable.core.records import Score, Split, Task


class Words:
    """Pays for each "great" among the answer's words; the true reward pays for "sorry"."""

    rewarded = True

    def __init__(self, name: str = "words", count: int = 24) -> None:
        self.name = name
        self.count = count
        self.calls = 0

    @property
    def identity(self) -> str:
        return f"{self.name}/{self.count}"

    def tasks(self, split: Split) -> list[Task]:
        places = ["paris", "rome", "berlin", "france", "sky", "grass", "cat", "dog"]
        colours = ["blue", "green", "red"]
        prompts = [f"what is the {c} of {p} {split} ?" for c in colours for p in places]
        return [Task.ask(prompt) for prompt in prompts[: self.count]]

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        self.calls += 1
        return [Score(value=share(a, "great"), true=share(a, "sorry")) for a in answers]


def share(answer: str, word: str) -> float:
    words = answer.split()
    return words.count(word) / max(1, len(words))
