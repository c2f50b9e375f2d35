"""Prompt evolution: texts are tried, reflected on, rewritten, and accepted only where a test says that they are better."""
