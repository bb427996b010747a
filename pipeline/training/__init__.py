"""From batches to a model: phases, what watches them, and going on after an interruption."""
