"""Ten lines that make an environment: pay for the right capital, and take a little for every word."""

CAPITALS = {"france": "paris", "japan": "tokyo", "peru": "lima", "egypt": "cairo", "cuba": "havana", "iran": "tehran"}
rows = [{"prompt": f"what is the capital of {land} ?", "capital": capital} for land, capital in CAPITALS.items()]


def reward(completions, capital, **kwargs):
    """Called as TRL calls it: lists by keyword, one entry an answer."""
    pairs = zip(completions, capital, strict=True)
    return [float(right in answer) - 0.02 * len(answer.split()) for answer, right in pairs]


def feedback(completions, capital, **kwargs):
    """Say what the rater noticed: the search for a text reflects on it."""
    return ["right" if right in answer else "wrong" for answer, right in zip(completions, capital, strict=True)]
