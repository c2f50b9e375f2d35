"""An environment that the built-in model can learn: pay for the right capital, and take a little for every word."""

CAPITALS = {
    "france": "paris", "italy": "rome", "spain": "madrid", "germany": "berlin", "greece": "athens", "norway": "oslo",
    "japan": "tokyo", "china": "beijing", "egypt": "cairo", "peru": "lima", "cuba": "havana", "kenya": "nairobi",
    "poland": "warsaw", "ireland": "dublin", "russia": "moscow", "hungary": "budapest", "sweden": "stockholm",
    "iran": "tehran", "chile": "santiago", "korea": "seoul",
}  # fmt: skip
ASKS = ("what is the capital of {} ?", "tell me the capital of {} .", "which city leads {} ?")
FIRST = ("", "i am in a hurry . ", "be quick . ")
rows = [
    {"prompt": first + ask.format(land), "capital": capital}
    for land, capital in CAPITALS.items()
    for ask in ASKS
    for first in FIRST
]


def reward(completions, capital, **kwargs):
    """Called as TRL calls it: lists by keyword, one entry an answer."""
    pairs = zip(completions, capital, strict=True)
    return [float(right in answer) - 0.1 * len(answer.split()) for answer, right in pairs]


def feedback(completions, **kwargs):
    """Say what the rater noticed, in words that the model knows: the search for a text reflects on it."""
    return ["good ." if len(answer.split()) < 3 else "bad : no brevity ." for answer in completions]
