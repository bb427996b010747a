"""One model trained by several replicas: the strategy, the parts, the loop."""
