"""The plainest program: one text, given to the model as its system prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scrutable.core.records import Conversation, Generation, Message, Sampling, Task
from scrutable.models.base import Model

TEXT = "text"


def place_text(messages: Conversation, text: str) -> Conversation:
    """Return the messages with `text` in its place.

    It is added after a system prompt that the task already has, with a blank line between; otherwise it becomes a new
    system message at the head. An empty text (or only blanks) changes nothing.
    """
    if not text.strip():
        return messages
    if messages and messages[0].role == "system":
        held = messages[0].content
        joined = f"{held}\n\n{text}" if held.strip() else text
        return (Message(role="system", content=joined), *messages[1:])
    return (Message(role="system", content=text), *messages)


class SingleText:
    """A Program of one text, named "text"."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The one name: "text"."""
        return (TEXT,)

    @property
    def identity(self) -> str:
        """The one way to ask: "text"."""
        return TEXT

    def run(
        self, model: Model, texts: Mapping[str, str], tasks: Sequence[Task], sampling: Sampling
    ) -> list[Generation]:
        """Answer each task under the text (see `Program`)."""
        return model.generate([place_text(task.messages, texts[TEXT]) for task in tasks], sampling)
