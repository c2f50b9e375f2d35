"""Programs: how texts and a task become conversations, and how they are run and rated."""
