"""Input pipelines, training, metrics, reports and the run directory."""
