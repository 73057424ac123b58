"""The page: layout and event wiring, nothing else. What an event does stands in `handlers.py`.

python -m web_demo.app [--host 127.0.0.1] [--port 7860] [--model FOLDER_OR_ID] [--share]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from gpt4roi.errors import UserError
from gpt4roi.eyes.names import plural
from gpt4roi.hosts import HostRule
from gpt4roi.regions import Region
from web_demo import finding, handlers
from web_demo.chat_view import chat_html
from web_demo.drawn import parse_drawn
from web_demo.examples import available_examples, thumbnail
from web_demo.handlers import ChatView, PictureView
from web_demo.images import data_url
from web_demo.loading import LoadModel, LoadStatus, ModelLoader, region_chat_loader
from web_demo.palette import REGION_COLOURS
from web_demo.privacy import OwnOriginOnly, sweep_uploads
from web_demo.session import Session, Sessions

STATIC = Path(__file__).parent / "static"
# gr.HTML takes one script, so the files of the canvas are joined; each may use what those before it declare.
CANVAS_PARTS = ("state", "draw", "list", "pointer", "keys", "talk", "find", "open", "receive")
# How long an upload that nobody read may lie on disk (the tab was closed in the middle); all others are deleted as they are read.
UNREAD_UPLOAD_S = 120
# Every event of every tab may run at once: the engine batches their answers and has its own queue.
# "multiple": Gradio would otherwise drop a second question without a word while the first is being answered.
EVENT: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}


def build_page(loader: ModelLoader, upload_dir: Path) -> gr.Blocks:
    """The page on a model. `upload_dir` is the folder that Gradio puts uploads in: this program's own, deleted with it."""
    sessions, serial = Sessions(), itertools.count(1)

    def session_of(request: gr.Request) -> Session:
        return sessions.of(request.session_hash or "")

    with gr.Blocks(title="GPT4RoI: talk about regions", analytics_enabled=False, fill_width=True) as page:
        with gr.Row(elem_id="header-row"):
            gr.HTML(_static("head.html"), js_on_load=_static("head.js"), elem_id="head", apply_default_css=False, scale=1)
            status = gr.HTML(_status_html(loader.status), elem_id="status", apply_default_css=False, min_width=120)
        with gr.Row(elem_id="work"):
            with gr.Column(scale=6, min_width=320):
                canvas = gr.HTML(
                    {"regions": []},
                    html_template=_static("canvas.html"),
                    js_on_load="\n".join(_static(f"canvas/{part}.js") for part in CANVAS_PARTS),
                    apply_default_css=False,
                    elem_id="canvas",
                    palette=list(REGION_COLOURS),
                    picture=None,
                    note=None,
                    warning=None,
                    found=None,
                    candidates=None,
                    said={},
                    asked=0,
                )
                examples = gr.HTML(_examples_html(), js_on_load=_static("examples.js"), apply_default_css=False, elem_id="examples")
            with gr.Column(scale=5, min_width=320, elem_id="talk"):
                chat = gr.HTML(
                    chat_html([]),
                    html_template='<div class="log" role="log" aria-label="Conversation" tabindex="0">${value}</div>',
                    js_on_load=_static("chat.js"),
                    apply_default_css=False,
                    elem_id="chat",
                )
                gr.HTML(
                    '<div class="strip" role="group" aria-label="Questions to pick"></div>',
                    apply_default_css=False,
                    elem_id="suggest",
                )
                with gr.Row(elem_id="composer"):
                    question = gr.Textbox(
                        placeholder="What is this?",
                        label="Question",
                        show_label=False,
                        container=False,
                        lines=1,
                        max_lines=5,
                        elem_id="question",
                        scale=1,
                    )
                    send = gr.Button("Send", elem_id="send", variant="primary", scale=0, min_width=84)
                    stop = gr.Button("Stop", elem_id="stop", variant="stop", scale=0, min_width=84, visible=False)
                question_note = gr.HTML(_note_html(""), elem_id="question-note", apply_default_css=False)
                with gr.Row(elem_id="tools"):
                    save_json = gr.Button("Download conversation", elem_id="save-json", size="sm")
                    save_png = gr.Button("Download picture with boxes", elem_id="save-png", size="sm")
                tools_note = gr.HTML(_note_html(""), elem_id="tools-note", apply_default_css=False)
                download = gr.HTML(
                    {}, html_template="<span></span>", js_on_load=_static("download.js"), apply_default_css=False, elem_id="hidden-download"
                )

        # --- the model -------------------------------------------------------------------------------------------------------------
        async def follow_loading() -> AsyncIterator[str]:
            shown = None
            while shown is None or shown.state == "loading":
                if loader.status != shown:
                    shown = loader.status
                    yield _status_html(shown)
                await asyncio.sleep(0.2)

        page.load(follow_loading, outputs=status, **EVENT)

        # --- pictures --------------------------------------------------------------------------------------------------------------
        def shown_picture(session: Session, outcome: PictureView) -> list[Any]:
            """Updates of canvas, chat, question note."""
            if outcome.error:
                return [_canvas_message(note=outcome.error), gr.skip(), gr.skip()]
            if outcome.warning:
                return [_canvas_message(warning=outcome.warning), gr.skip(), gr.skip()]
            picture = outcome.picture
            if picture is None:
                return [gr.skip(), gr.skip(), gr.skip()]
            width, height = picture.size_wh
            shown = {
                "serial": next(serial),
                "url": data_url(picture.image),
                "name": picture.name,
                "width": width,
                "height": height,
                "regions": [{"number": number, "box": list(box)} for number, box in picture.boxes_xyxy_abs.items()],
            }
            return [gr.HTML(picture=shown, asked=0, said={}), handlers.view(session).html, _note_html("")]

        def _canvas_message(**text: str) -> Any:
            props: dict[str, Any] = {name: {"serial": next(serial), "text": sentence} for name, sentence in text.items()}
            return gr.HTML(**props)

        def on_upload(event: gr.EventData, request: gr.Request) -> list[Any]:
            sweep_uploads(upload_dir, UNREAD_UPLOAD_S)
            sent = event._data if isinstance(event._data, dict) else {}
            session = session_of(request)
            return shown_picture(session, handlers.open_upload(session, str(sent.get("path", "")), str(sent.get("name", "")), upload_dir))

        def on_example(event: gr.EventData, request: gr.Request) -> list[Any]:
            sent = event._data if isinstance(event._data, dict) else {}
            session = session_of(request)
            return shown_picture(session, handlers.open_named_example(session, str(sent.get("name", ""))))

        def on_accept(request: gr.Request) -> list[Any]:
            session = session_of(request)
            return shown_picture(session, handlers.accept_waiting_picture(session))

        def on_refuse(request: gr.Request) -> None:
            handlers.refuse_waiting_picture(session_of(request))

        picture_outputs = [canvas, chat, question_note]
        canvas.upload(on_upload, outputs=picture_outputs, **EVENT)
        examples.example(on_example, outputs=picture_outputs, **EVENT)
        canvas.accept(on_accept, outputs=picture_outputs, **EVENT)
        canvas.refuse(on_refuse, **EVENT)

        # --- the conversation ------------------------------------------------------------------------------------------------------
        def shown_chat(views: Iterator[ChatView], canvas_value: Any, picked: bool = False) -> Iterator[list[Any]]:
            """Updates of chat, question, question note, send, stop, canvas; only what has changed is sent again.

            picked: the question was a button; what is being typed is another one and stays.
            """
            busy = None
            for view in views:
                updates = [
                    view.html,
                    gr.skip() if view.question is None or picked else view.question,
                    # Between its first and its last view an answer leaves the note alone: it may belong to what was typed meanwhile.
                    gr.skip() if busy and view.busy else _note_html(view.question_error),
                    gr.skip() if view.busy is busy else gr.Button(visible=not view.busy),
                    gr.skip() if view.busy is busy else gr.Button(visible=view.busy),
                    gr.skip(),
                ]
                # Only what has changed may be sent: what is not named keeps its value on the canvas.
                props: dict[str, Any] = {}
                if view.box_error:
                    props["note"] = {"serial": next(serial), "text": view.box_error}
                if view.found:
                    found = [_found_record(region) for region in view.found]
                    props["found"] = {"serial": next(serial), "regions": found}
                if busy is None and view.busy:
                    props["asked"] = max(parse_drawn(canvas_value).boxes, default=0)
                if not view.busy:
                    props["said"] = {str(number): {"name": name, "plural": plural(name, 2)} for number, name in view.said.items()}
                if props:
                    updates[-1] = gr.HTML(**props)
                busy = view.busy
                yield updates

        def on_ask(text: str, canvas_value: Any, request: gr.Request) -> Iterator[list[Any]]:
            yield from shown_chat(handlers.ask(session_of(request), loader, text or "", canvas_value), canvas_value)

        def on_pick(event: gr.EventData, canvas_value: Any, request: gr.Request) -> Iterator[list[Any]]:
            text = str(event._data.get("text", "")) if isinstance(event._data, dict) else ""
            yield from shown_chat(handlers.ask(session_of(request), loader, text, canvas_value), canvas_value, picked=True)

        def on_regenerate(canvas_value: Any, request: gr.Request) -> Iterator[list[Any]]:
            yield from shown_chat(handlers.regenerate(session_of(request), loader, canvas_value), canvas_value)

        def on_stop(request: gr.Request) -> None:
            session_of(request).stop()

        chat_outputs = [chat, question, question_note, send, stop, canvas]
        gr.on([send.click, question.submit], on_ask, inputs=[question, canvas], outputs=chat_outputs, **EVENT)
        for offers in (chat, canvas):
            offers.ask(on_pick, inputs=canvas, outputs=chat_outputs, **EVENT)
        chat.regenerate(on_regenerate, inputs=canvas, outputs=chat_outputs, **EVENT)
        stop.click(on_stop, **EVENT)

        # --- finding ---------------------------------------------------------------------------------------------------------------
        def sent_keys(event: gr.EventData) -> list[Any]:
            keys = event._data.get("keys") if isinstance(event._data, dict) else None
            return keys if isinstance(keys, list) else []

        def on_find(event: gr.EventData, request: gr.Request) -> Any:
            what = str(event._data.get("what", "")) if isinstance(event._data, dict) else ""
            found = finding.find(session_of(request), loader, what)
            regions = [_found_record(region) | {"key": key} for key, region in found.candidates.items()]
            return gr.HTML(candidates={"serial": next(serial), "text": found.text, "start": found.start, "regions": regions})

        def on_take(event: gr.EventData, canvas_value: Any, request: gr.Request) -> Any:
            taken, error = finding.take(session_of(request), sent_keys(event), canvas_value)
            if error:
                return _canvas_message(note=error)
            return gr.HTML(found={"serial": next(serial), "regions": [_found_record(region) for region in taken]})

        def on_reject(event: gr.EventData, request: gr.Request) -> None:
            finding.reject(session_of(request), sent_keys(event))

        canvas.find(on_find, outputs=canvas, **EVENT)
        canvas.take(on_take, inputs=canvas, outputs=canvas, **EVENT)
        canvas.reject(on_reject, **EVENT)

        # --- downloads -------------------------------------------------------------------------------------------------------------
        def file_for_browser(name: str, media_type: str, content: bytes) -> dict[str, Any]:
            return {"serial": next(serial), "name": name, "type": media_type, "base64": base64.b64encode(content).decode("ascii")}

        def on_save_json(canvas_value: Any, request: gr.Request) -> list[Any]:
            session = session_of(request)
            try:
                text = handlers.conversation_jsonl(session, canvas_value)
            except UserError as error:
                return [gr.skip(), _note_html(handlers.sentence(error))]
            return [
                file_for_browser(handlers.download_name(session, "conversation.jsonl"), "application/jsonl", text.encode()),
                _note_html(""),
            ]

        def on_save_png(canvas_value: Any, request: gr.Request) -> list[Any]:
            session = session_of(request)
            try:
                png = handlers.annotated_png(session, canvas_value)
            except UserError as error:
                return [gr.skip(), _note_html(handlers.sentence(error))]
            return [file_for_browser(handlers.download_name(session, "regions.png"), "image/png", png), _note_html("")]

        save_json.click(on_save_json, inputs=canvas, outputs=[download, tools_note], **EVENT)
        save_png.click(on_save_png, inputs=canvas, outputs=[download, tools_note], **EVENT)

        # --- the end of a tab ------------------------------------------------------------------------------------------------------
        def on_unload(request: gr.Request) -> None:
            sessions.close(request.session_hash or "")
            sweep_uploads(upload_dir, UNREAD_UPLOAD_S)

        page.unload(on_unload)
    return page


def _found_record(region: Region) -> dict[str, Any]:
    """What the canvas draws of a region that was found."""
    label = region.label or ""
    box = list(region.box_xyxy)
    return {"number": region.number, "box": box, "label": label, "plural": plural(label, 2) if label else "", "score": region.score or 0.0}


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _note_html(text: str) -> str:
    return f'<div class="note" role="alert">{escape(text)}</div>'


def _status_html(status: LoadStatus) -> str:
    text = escape(status.message[:1].upper() + status.message[1:])
    if status.state == "loading":
        known = status.fraction is not None
        bar = f'<div class="fill" style="width:{status.fraction:.0%}"></div>' if known else '<div class="fill unknown"></div>'
        percent = f" {status.fraction:.0%}" if known else ""
        return f'<div class="status loading" role="status"><span>{text}{percent}</span><div class="track">{bar}</div></div>'
    return f'<div class="status {status.state}" role="status"><span class="dot"></span><span>{text}</span></div>'


def _examples_html() -> str:
    buttons = "".join(
        f'<button type="button" data-example="{name}"><img src="{thumbnail(name)}" alt="">{escape(example.title)}</button>'
        for name, example in available_examples().items()
    )
    return f'<div class="strip"><span>Examples</span>{buttons}</div>' if buttons else ""


def serve(load: LoadModel, host: str, port: int, share: bool = False) -> None:
    """Open the page at once, load the model behind it, and run until stopped; then nothing of any user is left on disk."""
    upload_dir = Path(tempfile.mkdtemp(prefix="gpt4roi-demo-"))
    # Gradio reads both when the page is built.
    os.environ["GRADIO_TEMP_DIR"] = str(upload_dir)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # A terminated server must clean up as an interrupted one does; without a handler SIGTERM skips every `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        loader = ModelLoader(load)
        page = build_page(loader, upload_dir)
        loader.start()
        font = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif"]
        page.queue(max_size=256).launch(
            server_name=host,
            server_port=port,
            share=share,
            theme=gr.themes.Base(font=font, font_mono=["ui-monospace", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]),
            css_paths=[STATIC / "style.css"],
            app_kwargs={"middleware": [Middleware(OwnOriginOnly, rule=HostRule(host, domains=("gradio.live",) if share else ()))]},
            max_file_size="64mb",
            state_session_capacity=100,
            footer_links=[],
            ssr_mode=False,
            run_history=False,
        )
    finally:
        shutil.rmtree(upload_dir, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m web_demo.app", description="Draw boxes on a picture and talk about them, in a browser."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--model", default=None, help="a model folder or hub id; left out: the embedded default, which runs on two CPU cores"
    )
    parser.add_argument("--share", action="store_true", help="also open a public link through gradio.live, which sees all traffic")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    # The HTTP client of Gradio's own start-up check logs every request; nobody needs that.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        serve(region_chat_loader(args.model), args.host, args.port, args.share)
    except OSError as error:
        print(f"the page could not be opened on {args.host}:{args.port} ({error}); try another --port", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
