"""From answers to judgement: metrics, threshold, calibration, comparison, robustness."""
