"""Every picture looked at before training starts: what is missing or broken is told all at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from gpt4roi.data.dialogue import SampleList
from gpt4roi.data.errors import DataError
from gpt4roi.data.sample import Sample
from gpt4roi.images import MAX_PIXELS

# A picture whose real size differs from the annotated one has every box in the wrong place.
PROBLEM_KINDS = ("missing", "broken", "other size")
NUM_EXAMPLES = 3
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageReport:
    """What was found. `problems`: picture → (kind, explanation), in order of first use; `num_samples`: samples that use one of them."""

    num_images: int
    num_samples: int
    problems: dict[Path, tuple[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.problems)

    def counts(self) -> dict[str, int]:
        kinds = [kind for kind, _ in self.problems.values()]
        return {kind: kinds.count(kind) for kind in PROBLEM_KINDS}

    def __str__(self) -> str:
        if not self:
            return f"{self.num_images} pictures, all readable"
        parts = []
        for kind, count in self.counts().items():
            examples = [f"{path} ({text})" if text else str(path) for path, (k, text) in self.problems.items() if k == kind]
            if count:
                parts.append(f"{count} {kind}, for example {'; '.join(examples[:NUM_EXAMPLES])}")
        return f"{self.num_images} pictures, {len(self.problems)} unusable in {self.num_samples} samples: {'. '.join(parts)}"

    def raise_if_any(self) -> None:
        """Raises DataError with the whole report."""
        if self:
            raise DataError(f"{self}. Put them in place, or continue without them (--skip-broken)")

    def without_broken(self, samples: Sequence[Sample]) -> SampleList:
        """The samples whose picture is usable, the others counted in `left_out`."""
        kept = SampleList((s for s in samples if s.image is None or s.image not in self.problems), getattr(samples, "left_out", None))
        if len(kept) < len(samples):
            kept.left_out["samples with a missing or broken picture"] += len(samples) - len(kept)
        return kept


def check_images(samples: Iterable[Sample], num_threads: int = 8) -> ImageReport:
    """Open and decode every picture once.

    JPEGs are decoded at an eighth of their size, which reads the whole file (a cut download is found) at a fraction of the cost.
    """
    sizes: dict[Path, tuple[int, int] | None] = {}
    uses: dict[Path, int] = {}
    for sample in samples:
        if sample.image is not None:
            sizes[sample.image] = sizes.get(sample.image) or sample.image_size_wh
            uses[sample.image] = uses.get(sample.image, 0) + 1
    with ThreadPoolExecutor(num_threads) as pool:
        found = pool.map(image_problem, sizes.keys(), sizes.values())
        problems = {path: problem for path, problem in zip(sizes, found, strict=True) if problem is not None}
    return ImageReport(len(sizes), sum(uses[path] for path in problems), problems)


def image_problem(path: Path, image_size_wh: tuple[int, int] | None = None) -> tuple[str, str] | None:
    """(kind, explanation) of what is wrong with one picture, or None."""
    if not path.is_file():
        return "missing", ""
    try:
        with Image.open(path) as image:
            size = upright_size_wh(image)
            if size[0] * size[1] > MAX_PIXELS:
                return "broken", f"{size[0]} x {size[1]} pixels are too many; scale it down"
            image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
    except UnidentifiedImageError:
        return "broken", "not a picture in a known format"
    # Pillow's decoders raise SyntaxError for a PNG with broken chunks, ValueError and others for damaged headers.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        return "broken", str(error)
    if image_size_wh is not None and size != tuple(image_size_wh):
        return "other size", f"{size[0]} x {size[1]} pixels, annotated as {image_size_wh[0]} x {image_size_wh[1]}"
    return None


def upright_size_wh(image: Image.Image) -> tuple[int, int]:
    """Width and height as people see the picture and as the processor opens it, EXIF orientation applied; nothing is decoded."""
    sideways = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if sideways else (image.width, image.height)
