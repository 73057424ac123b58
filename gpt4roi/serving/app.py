"""The FastAPI application: routes and nothing else."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from gpt4roi import __version__
from gpt4roi.engine import Engine, EngineBusyError, EngineClosedError, PromptTooLongError
from gpt4roi.engine.constraint import JsonForms
from gpt4roi.errors import UserError
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.guards import Guard
from gpt4roi.serving.images import ImageStore
from gpt4roi.serving.limits import Bodies, check_is_json, check_key
from gpt4roi.serving.metrics import CountRequests, Metrics
from gpt4roi.serving.parse import Job, build_job, has_image
from gpt4roi.serving.request import parse_request
from gpt4roi.serving.schema import ChatRequest, component_schemas, request_documentation
from gpt4roi.serving.settings import ServerSettings
from gpt4roi.serving.stream import Answering, Known
from gpt4roi.serving.workers import ImageWorkers, while_connected

logger = logging.getLogger(__name__)
DRAIN_S = 60.0
DESCRIPTION = "Draw boxes on a picture and talk about them. OpenAI-compatible; regions are content parts, `<region1>` in texts."
ONLY_PATHS = "this server answers POST /v1/chat/completions and GET /v1/models"


def create_app(engine: Engine, settings: ServerSettings) -> FastAPI:
    """The API on one engine."""
    images = ImageStore(engine.processor, settings)
    forms = JsonForms(engine.processor.tokenizer, engine.end_ids)
    bodies = Bodies(settings)
    workers = ImageWorkers()
    metrics = Metrics(engine)
    started = int(time.time())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()
        await run_in_threadpool(engine.close, DRAIN_S)

    about: dict[str, Any] = {"title": "GPT4RoI", "version": __version__, "description": DESCRIPTION, "lifespan": lifespan}
    # The pages' scripts come from this server, not from a foreign one. A browser sends no key, so with one there are no pages.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, **about) if settings.api_key else FastAPIOffline(redoc_url=None, **about)
    _complete_schema(app)

    # The last one added is the first one asked.
    app.add_middleware(CORSMiddleware, allow_origins=settings.allowed_origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(CountRequests, metrics=metrics)

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return ApiError(404, f"there is no '{request.url.path[:80]}' here; {ONLY_PATHS}").response()
        if error.status_code == 405:
            return ApiError(405, f"'{request.url.path[:80]}' does not take {request.method}; {ONLY_PATHS}").response()
        return ApiError(error.status_code, str(error.detail)).response()

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        logger.error("the request failed", exc_info=error)
        return ApiError(500, "the answer failed; the server's log says why").response()

    @app.get("/healthz", summary="Whether the server takes questions")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok", "model": settings.model_name, "waiting": engine.waiting_count, "running": engine.running_count}

    @app.get("/metrics", summary="Prometheus metrics")
    async def show_metrics(request: Request) -> Response:
        check_key(request, settings)
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", summary="The one model")
    async def models(request: Request) -> dict[str, Any]:
        check_key(request, settings)
        return {"object": "list", "data": [_model_card(settings, started)]}

    @app.get("/v1/models/{name:path}", summary="One model")
    async def model(name: str, request: Request) -> dict[str, Any]:
        check_key(request, settings)
        if name != settings.model_name:
            raise ApiError(404, f"there is no model '{name[:80]}' here; there is '{settings.model_name}'", "model")
        return _model_card(settings, started)

    @app.post("/v1/chat/completions", summary="Ask about boxes on a picture", openapi_extra=request_documentation(), response_model=None)
    async def chat_completions(request: Request) -> Response:
        check_key(request, settings)
        check_is_json(request)
        wanted, job = await _read(request)
        try:
            answering: Answering | Known = Answering(engine, job, settings.timeout_s) if job.known is None else Known(job.known)
        except EngineBusyError as error:
            raise ApiError(503 if isinstance(error, EngineClosedError) else 429, str(error)) from error
        except PromptTooLongError as error:
            raise ApiError(400, str(error), "messages") from error
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": settings.model_name}
        if wanted.stream:
            with_usage = wanted.stream_options is not None and bool(wanted.stream_options.include_usage)
            return StreamingResponse(_events(answering, job, head, with_usage), media_type="text/event-stream")
        async for _ in answering.pieces(request.is_disconnected):
            pass
        _record(answering, job)
        message: dict[str, Any] = {"role": "assistant", "content": answering.text, "refusal": None}
        if job.known is not None:
            message |= {"regions": [region.to_record() for region in job.known.regions], "scores": dict(job.known.scores)}
        choice = {"index": 0, "message": message, "finish_reason": answering.finish_reason, "logprobs": None}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": answering.usage()})

    async def _read(request: Request) -> tuple[ChatRequest, Job]:
        """The request and what the engine is asked, in worker threads; the body is gone from memory afterwards."""
        async with bodies.read(request) as body:
            wanted = await run_in_threadpool(parse_request, body, settings)
            del body
            try:
                if has_image(wanted):
                    work = workers.run(lambda: build_job(wanted, engine, images, forms, settings))
                    return wanted, await while_connected(request, work, settings.timeout_s)
                return wanted, await run_in_threadpool(build_job, wanted, engine, images, forms, settings)
            except UserError as error:
                raise ApiError(400, str(error)) from error

    async def _events(answering: Answering | Known, job: Job, head: dict[str, Any], with_usage: bool) -> AsyncIterator[str]:
        def event(delta: dict[str, str] | None, finish_reason: str | None = None, **more: Any) -> str:
            choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}]
            return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': choices, **more}, ensure_ascii=False)}\n\n"

        try:
            yield event({"role": "assistant", "content": ""})
            async for piece in answering.pieces():
                yield event({"content": piece})
            yield event({}, answering.finish_reason)
            if with_usage:
                yield event(None, usage=answering.usage())
        except ApiError as error:
            yield f"data: {json.dumps(error.body())}\n\n"
        except Exception:  # the status has been sent; an event is all that can still be said
            logger.exception("the answer failed")
            yield f"data: {json.dumps(ApiError(500, 'the answer failed; the server log says why').body())}\n\n"
        else:
            yield "data: [DONE]\n\n"
        finally:
            answering.cancel()
            _record(answering, job)

    def _record(answering: Answering | Known, job: Job) -> None:
        metrics.record_answer(answering.timings)
        if settings.log_texts:
            logger.info("question %r answer %r", job.question, answering.text)

    return app


def _model_card(settings: ServerSettings, started: int) -> dict[str, Any]:
    """As OpenAI's, and what clients ask other servers for."""
    return {
        "id": settings.model_name,
        "object": "model",
        "created": started,
        "owned_by": "gpt4roi",
        "max_model_len": settings.max_prompt_tokens,
        "max_completion_tokens": settings.max_new_tokens,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    }


def _complete_schema(app: FastAPI) -> None:
    """Add the schemas that the documentation of the request refers to."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        document.setdefault("components", {}).setdefault("schemas", {}).update(component_schemas())
        return document

    app.openapi = openapi  # type: ignore[method-assign]
