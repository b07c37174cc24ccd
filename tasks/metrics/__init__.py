"""Evaluation: every metric with its exact settings. `registry.METRICS` is the table, `registry.build` the way in."""
