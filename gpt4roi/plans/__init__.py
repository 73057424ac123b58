"""Plans: a request becomes typed steps that pass regions, which run, are recorded, replayed and merged into one reply (VisionGPT, arXiv:2403.09027)."""

from gpt4roi.plans.actions import Plan, PlanError, parse_plan

__all__ = ["Plan", "PlanError", "parse_plan"]
