"""Honest figures: exact ranks in, averages with intervals, slices and verdicts against baselines out.

Evaluation consumes ranks and rating predictions, whoever computed them; it never owns a model.
"""
