"""The page: what a run says, as one self-contained HTML file and its JSON twin. Knows records, and no method."""
