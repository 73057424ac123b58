"""The benchmarks: name → module and class. Modules are imported when asked for, so that listing them costs nothing."""

from __future__ import annotations

import importlib

from gpt4roi.evaluation.items import EvaluationError
from gpt4roi.evaluation.task import Request, Task

TASKS = {
    "embedded_suite": ("embedded_suite", "EmbeddedSuite"),
    "regions": ("regions", "Regions"),
    "vcr": ("vcr", "Vcr"),
    "visual7w": ("visual7w", "Visual7W"),
    "lvis_referring": ("referring", "LvisReferring"),
    "paco_referring": ("referring", "PacoReferring"),
    "coco_classification": ("coco_classification", "CocoClassification"),
    "region_caption": ("region_caption", "RegionCaption"),
    "open_vocabulary": ("open_vocabulary", "OpenVocabulary"),
    "rec": ("rec", "Rec"),
    "refl4": ("refl4", "RefL4"),
    "coco_detection": ("coco_detection", "CocoDetection"),
}


def task_class(name: str) -> type[Task]:
    if name not in TASKS:
        raise EvaluationError(f"there is no task '{name}'; choose one of {', '.join(TASKS)}")
    module, attribute = TASKS[name]
    return getattr(importlib.import_module(f"gpt4roi.evaluation.tasks.{module}"), attribute)


def make_task(name: str, request: Request) -> Task:
    if not request.data.exists():
        raise EvaluationError(f"there is no data file {request.data}")
    return task_class(name)(request)
