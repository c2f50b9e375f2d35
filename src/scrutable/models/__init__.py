"""Models: local ones that can be opened, served ones that answer, and recorded ones for tests and examples."""
