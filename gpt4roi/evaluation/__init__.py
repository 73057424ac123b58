"""Evaluation: tasks (a dict, one file per benchmark), predictors, metrics, a resumable runner and a report."""
