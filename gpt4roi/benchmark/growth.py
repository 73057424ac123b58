"""How cost grows with boxes, turns and picture size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpt4roi.benchmark.measures import random_picture, uncached_engine
from gpt4roi.benchmark.timing import seconds
from gpt4roi.chat import RegionChat
from gpt4roi.errors import UserError

BOX_COUNTS, TURNS, SIDES = (1, 2, 5, 10, 20, 40), 8, (256, 512, 1024, 2048, 4096)


def growth(chat: RegionChat) -> dict[str, Any]:
    """Seconds to the first token by number of boxes and by turn, with and without caches; seconds to take a picture by its side."""
    without = uncached_engine(chat)
    result: dict[str, Any] = {"boxes": [], "turns": [], "sides": []}
    for count in BOX_COUNTS:
        row: dict[str, float] = {"boxes": count}
        for name, engine in (("ours", chat.engine), ("without caches", without)):
            engine.clear_caches()
            session = RegionChat(chat.model, chat.processor, engine)
            session.set_image(random_picture(count))
            for index in range(count):
                session.add_region((10 + index, 10, 200 + index, 300))
            session.ask("Hello", 1)
            named = ", ".join(f"<region{number}>" for number in session.regions)
            row[name] = session.ask(f"Compare {named}.", 1).timings["first_token_s"]
        result["boxes"].append(row)
    sessions = {}
    for name, engine in (("ours", chat.engine), ("without caches", without)):
        sessions[name] = RegionChat(chat.model, chat.processor, engine)
        sessions[name].set_image(random_picture(99))
        sessions[name].add_region((40, 40, 300, 300))
    for turn in range(1, TURNS + 1):
        result["turns"].append(
            {"turn": turn, **{name: one.ask("What is <region1>?", 12).timings["first_token_s"] for name, one in sessions.items()}}
        )
    for side in SIDES:
        session, picture = chat.new_session(), random_picture(side, (side, side))
        taken = seconds(lambda session=session, picture=picture: session.set_image(picture))  # type: ignore[misc]
        session.add_region((10, 10, 200, 200))
        result["sides"].append(
            {"side": side, "set_image": taken, "first question": session.ask("What is <region1>?", 1).timings["first_token_s"]}
        )
    return result


def plot(figures: dict[str, Any], path: str | Path) -> None:
    """Three panels as a PNG (or whatever the path's ending says).

    Raises:
      ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserError("the plot needs matplotlib; install it with: pip install matplotlib") from error
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = (
        ("boxes", "boxes", "boxes in one question"),
        ("turns", "turn", "turn of the conversation"),
        ("sides", "side", "picture's side, pixels"),
    )
    for axes, (key, x, label) in zip(figure.subplots(1, 3), panels, strict=True):
        rows = figures[key]
        for name in [name for name in rows[0] if name != x]:
            axes.plot([row[x] for row in rows], [1000 * row[name] for row in rows], marker="o", label=name)
        axes.set(xlabel=label, ylabel="ms to the first token", ylim=(0, None))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
