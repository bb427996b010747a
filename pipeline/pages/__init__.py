"""Self-contained HTML pages: the report of a run and the audit of a data set."""
