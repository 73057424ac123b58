"""A released GPT4RoI checkpoint into a folder of ours, tensor by tensor.

Everything is checked before the first byte is written. Finished shards wait in `OUTPUT.partial`, which becomes OUTPUT in one rename at
the end: an interrupted run goes on where it was, an error leaves nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig

from gpt4roi.models.configuration_gpt4roi import GPT4RoIConfig
from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
from gpt4roi.models.processing_gpt4roi import CONFIG_NAME, GPT4RoIProcessor
from gpt4roi.models.released_config import BASE_VOCABULARY, build_config, check_base_config, read_released_config, read_tower_config
from gpt4roi.models.released_keys import is_delta, is_ignored, our_name, released_names
from gpt4roi.models.tensor_files import CheckpointError, TensorFiles, read_json
from gpt4roi.models.tokenizer_released import build_tokenizer, has_tokenizer

MANIFEST = "conversion.json"
TOWER_PREFIX = "vision_tower.tower.backbone."
# CLIP's statistics, as in the released preprocessing (reference section 6).
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# Norm weights of a whole LLaMA are of order 1; those of a delta are differences, of order 0.01.
DELTA_NORM = 0.1

Report = Callable[[str, float | None], None]


@dataclass(frozen=True)
class Source:
    """Where one of our tensors comes from. `kind`: `released`, `merged` (released + base) or `tower`."""

    kind: str
    name: str


@dataclass(frozen=True)
class Conversion:
    """What was written."""

    folder: Path
    tensors: int
    parameters: int
    bytes: int
    shards: int
    has_processor: bool
    already_done: bool = False


def convert(
    released_dir: str | Path,
    output_dir: str | Path,
    vision_tower: str | Path,
    base: str | Path | None = None,
    tokenizer: str | Path | None = None,
    max_shard_bytes: int = 2_000_000_000,
    report: Report | None = None,
) -> Conversion:
    """Convert, verify, and put the folder in its place.

    Args:
      released_dir: pickle shards with index, or safetensors; whole weights or a delta over LLaMA-1.
      output_dir: must not exist, or be empty, or hold the same conversion (then every tensor is compared with its source).
      vision_tower: folder of the CLIP tower, which the released checkpoint does not hold.
      base: folder of LLaMA-1 for delta weights; added in float16 as released.
      tokenizer: folder with tokenizer.json or tokenizer.model; None looks into `released_dir`, then `base`.
      max_shard_bytes: size of a written shard, and about the memory that is needed.
      report: told what is being done and how far it is (0 to 1).
    Raises:
      CheckpointError: with one sentence; nothing half-written is left.
    """
    tell = report or (lambda message, fraction: None)
    source_dir, output = Path(released_dir), Path(output_dir)
    partial = output.with_name(output.name + ".partial")
    tell("reading names and shapes", None)
    converter = _Converter(source_dir, Path(vision_tower), Path(base) if base is not None else None)
    tokenizer_dir = _tokenizer_dir(tokenizer, source_dir, base)
    shards = converter.shards(max_shard_bytes)
    manifest = {**converter.fingerprint(), "shards": len(shards), "max_shard_bytes": max_shard_bytes}
    done = _is_done(output, manifest)
    if not done:
        try:
            _prepare(partial, manifest)
            _check_disk(partial, shards, converter)
            _write(partial, shards, converter, tell)
            _write_configs(partial, converter)
            verify(partial, converter, shards, tell)
            _write_processor(partial, tokenizer_dir, converter.config)
            if output.exists():
                output.rmdir()
            partial.rename(output)
        except (CheckpointError, OSError, RuntimeError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"'{output}' could not be written ({error}); nothing was left behind") from error
    else:
        verify(output, converter, shards, tell)
        if not (output / CONFIG_NAME).exists():
            _write_processor(output, tokenizer_dir, converter.config)
    sizes = [converter.bytes_of(name) for shard in shards for name in shard]
    parameters = sum(_count(shape) for shape in converter.shapes.values())
    return Conversion(output, len(sizes), parameters, sum(sizes), len(shards), (output / CONFIG_NAME).exists(), done)


class _Converter:
    """The checked plan: every tensor of ours and its source."""

    def __init__(self, released_dir: Path, tower_dir: Path, base_dir: Path | None) -> None:
        released = read_released_config(released_dir)
        if not tower_dir.is_dir():
            raise CheckpointError(
                f"the vision tower '{tower_dir}' is not a folder; the released weights do not hold it: give a local copy of openai/clip-vit-large-patch14"
            )
        tower_config = read_tower_config(tower_dir)
        self.released = TensorFiles(released_dir)
        self.tower = TensorFiles(tower_dir)
        self.base: TensorFiles | None = None
        try:
            self.config = build_config(released, tower_config, self.released.shapes)
            with torch.device("meta"):
                model = GPT4RoIForConditionalGeneration(self.config)
        except CheckpointError:
            raise
        except Exception as error:  # a stranger's numbers reach transformers, which checks few of them
            raise CheckpointError(
                f"'{released_dir / 'config.json'}' and the tower's describe no model that can be built ({type(error).__name__}: {str(error)[:120]}); fetch them again"
            ) from error
        self.shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        self.sources = self._released_sources(released["num_hidden_layers"]) | self._tower_sources()
        if base_dir is not None:
            check_base_config(base_dir, released)
            self.base = TensorFiles(base_dir)
        self._check_base()

    def _released_sources(self, num_layers: int) -> dict[str, Source]:
        wanted = released_names(num_layers)
        unknown = [name for name in self.released if not is_ignored(name) and name not in set(wanted)]
        missing = [name for name in wanted if name not in self.released]
        for names, what in ((unknown, "does not belong to a released GPT4RoI"), (missing, "is missing")):
            if names:
                raise CheckpointError(f"the tensor '{names[0]}' {what} ({len(names)} such in '{self.released.folder}'); check the folder")
        sources = {}
        for name in wanted:
            ours = our_name(name)
            if ours is None or ours not in self.shapes:
                raise CheckpointError(f"the tensor '{name}' has no place in our model; please report this")
            self._check_shape(name, self.released, self.shapes[ours])
            sources[ours] = Source("released", name)
        return sources

    def _tower_sources(self) -> dict[str, Source]:
        """Ours may or may not carry `vision_model.`, and so may theirs: transformers dropped that prefix in version 5."""
        sources = {}
        for ours in self.shapes:
            if ours.startswith(TOWER_PREFIX):
                name = ours.removeprefix(TOWER_PREFIX).removeprefix("vision_model.")
                found = next((n for n in (f"vision_model.{name}", name) if n in self.tower), None)
                if found is None:
                    raise CheckpointError(f"the vision tower '{self.tower.folder}' lacks the tensor '{name}'; fetch it again")
                self._check_shape(found, self.tower, self.shapes[ours])
                sources[ours] = Source("tower", found)
        return sources

    def _check_shape(self, name: str, files: TensorFiles, expected: tuple[int, ...]) -> None:
        if files.shapes[name] != expected:
            raise CheckpointError(f"the tensor '{name}' in '{files.folder}' has shape {files.shapes[name]} where {expected} is expected")
        if not files.dtypes[name].is_floating_point:
            raise CheckpointError(f"the tensor '{name}' in '{files.folder}' is {files.dtypes[name]}, not a floating-point type")

    def _check_base(self) -> None:
        is_delta_file = float(self.released.get("model.norm.weight").float().abs().mean()) < DELTA_NORM
        if is_delta_file and self.base is None:
            raise CheckpointError(
                f"'{self.released.folder}' holds delta weights, which are nothing without LLaMA-1 7B; give its folder with --base"
            )
        if self.base is None:
            return
        if not is_delta_file:
            raise CheckpointError(f"'{self.released.folder}' holds whole weights, not a delta; leave --base out")
        used = set()
        for ours, source in self.sources.items():
            if source.kind != "released" or not is_delta(source.name):
                continue
            if source.name not in self.base:
                raise CheckpointError(f"the base '{self.base.folder}' lacks the tensor '{source.name}'; it is not LLaMA-1")
            shape = self.shapes[ours]
            is_word_table = shape[0] == self.config.text_config.vocab_size and source.name in (
                "model.embed_tokens.weight",
                "lm_head.weight",
            )
            self._check_shape(source.name, self.base, (BASE_VOCABULARY, *shape[1:]) if is_word_table else shape)
            used.add(source.name)
            self.sources[ours] = Source("merged", source.name)
        unknown = [name for name in self.base if name not in used and not is_ignored(name)]
        if unknown:
            raise CheckpointError(f"the base '{self.base.folder}' has a tensor '{unknown[0]}' that LLaMA-1 has not; it is another model")

    def load(self, ours: str) -> Tensor:
        """One tensor of ours, in memory of its own.

        Deltas are added in float16, as released: any other precision rounds differently.
        """
        source = self.sources[ours]
        if source.kind == "tower":
            return self.tower.get(source.name).clone().contiguous()
        tensor = self.released.get(source.name).clone().contiguous()
        if source.kind == "merged" and self.base is not None:
            tensor = tensor.half()
            base = self.base.get(source.name).half()
            tensor[: base.shape[0]] += base
        return tensor

    def bytes_of(self, ours: str) -> int:
        source = self.sources[ours]
        dtype = self.tower.dtypes[source.name] if source.kind == "tower" else self.released.dtypes[source.name]
        return _count(self.shapes[ours]) * (2 if source.kind == "merged" else dtype.itemsize)

    def shards(self, max_bytes: int) -> list[list[str]]:
        """Our names in the order in which the released files hold them, so that each file is opened once."""
        files = {name: index for index, name in enumerate(dict.fromkeys(self.released.file_of.values()))}

        def place(ours: str) -> tuple[int, str]:
            source = self.sources[ours]
            return (len(files), ours) if source.kind == "tower" else (files[self.released.file_of[source.name]], ours)

        shards: list[list[str]] = []
        size = 0
        for name in sorted(self.sources, key=place):
            if not shards or size + self.bytes_of(name) > max_bytes:
                shards.append([])
                size = 0
            shards[-1].append(name)
            size += self.bytes_of(name)
        return shards

    def fingerprint(self) -> dict[str, Any]:
        base = self.base.fingerprint() if self.base is not None else None
        return {"format": 1, "released": self.released.fingerprint(), "tower": self.tower.fingerprint(), "base": base}


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _shard_name(index: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{index + 1:05d}-of-{count:05d}.safetensors"


def _is_done(output: Path, manifest: dict[str, Any]) -> bool:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if output.is_dir() and (output / MANIFEST).exists() and read_json(output / MANIFEST) == manifest:
        return True
    raise CheckpointError(f"'{output}' exists and holds something else; choose another folder or remove it")


def _prepare(partial: Path, manifest: dict[str, Any]) -> None:
    """Keep the finished shards of an interrupted run of the same conversion; anything else there goes."""
    if partial.exists():
        path = partial / MANIFEST
        if not path.exists() or read_json(path) != manifest:
            shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    for unfinished in partial.glob("*.writing"):
        unfinished.unlink()
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _check_disk(partial: Path, shards: list[list[str]], converter: _Converter) -> None:
    count = len(shards)
    wanted = [shard for index, shard in enumerate(shards) if not (partial / _shard_name(index, count)).exists()]
    needed = sum(converter.bytes_of(name) for shard in wanted for name in shard) + 20_000_000
    free = shutil.disk_usage(partial).free
    if free < needed:
        raise CheckpointError(
            f"{needed / 1e9:.1f} GB are needed for '{partial.parent}' but {free / 1e9:.1f} GB are free; free some or choose another disk"
        )


def _write(partial: Path, shards: list[list[str]], converter: _Converter, tell: Report) -> None:
    total = sum(converter.bytes_of(name) for shard in shards for name in shard)
    written = 0
    index: dict[str, str] = {}
    for position, shard in enumerate(shards):
        file = _shard_name(position, len(shards))
        index |= dict.fromkeys(shard, file)
        if not _holds(partial / file, shard):
            tensors = {}
            for name in shard:
                tensors[name] = converter.load(name)
                written += converter.bytes_of(name)
                tell(f"shard {position + 1} of {len(shards)}", written / total)
            unfinished = partial / f"{file}.writing"
            save_file(tensors, unfinished, metadata={"format": "pt"})
            unfinished.chmod(0o644)  # safetensors makes it private to the user
            unfinished.rename(partial / file)
        else:
            written += sum(converter.bytes_of(name) for name in shard)
            tell(f"shard {position + 1} of {len(shards)} is there already", written / total)
    if len(shards) > 1:
        content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}
        (partial / "model.safetensors.index.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _holds(path: Path, names: list[str]) -> bool:
    if not path.exists():
        return False
    try:
        with safe_open(path, framework="pt") as opened:
            return set(opened.keys()) == set(names)
    except (SafetensorError, OSError):
        return False


def _write_configs(folder: Path, converter: _Converter) -> None:
    config = converter.config
    config.architectures = [GPT4RoIForConditionalGeneration.__name__]
    config.dtype = torch.float16
    config.save_pretrained(folder)
    text = config.text_config
    # Training padded with [PAD]; the released config's pad (<unk>) is a word that a prompt may hold.
    GenerationConfig(bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id, pad_token_id=BASE_VOCABULARY).save_pretrained(folder)


def verify(folder: Path, converter: _Converter, shards: list[list[str]], tell: Report) -> None:
    """Every tensor against its source: name, shape and each value.

    Raises:
      CheckpointError: a written file differs.
    """
    tell("verifying", None)
    names = [name for shard in shards for name in shard]
    for position, shard in enumerate(shards):
        path = folder / _shard_name(position, len(shards))
        try:
            with safe_open(path, framework="pt") as opened:
                if set(opened.keys()) != set(shard):
                    raise CheckpointError(f"'{path}' does not hold the tensors that it should; remove '{folder}' and convert again")
                for name in shard:
                    if tuple(opened.get_slice(name).get_shape()) != converter.shapes[name]:
                        raise CheckpointError(f"'{name}' in '{path}' has a wrong shape; remove '{folder}' and convert again")
                    if not _same_bits(opened.get_tensor(name), converter.load(name)):
                        raise CheckpointError(f"'{name}' in '{path}' differs from its source; remove '{folder}' and convert again")
        except (SafetensorError, FileNotFoundError) as error:
            raise CheckpointError(f"'{path}' cannot be read back ({error}); remove '{folder}' and convert again") from error
    if set(names) != set(converter.shapes):
        odd = sorted(set(names) ^ set(converter.shapes))
        raise CheckpointError(f"the model has a tensor '{odd[0]}' that was not written ({len(odd)} such); please report this")


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal values; a NaN of the source is one in the copy too."""
    return a.dtype == b.dtype and (torch.equal(a, b) or torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)))


def _tokenizer_dir(given: str | Path | None, released_dir: Path, base: str | Path | None) -> Path | None:
    if given is not None:
        if not has_tokenizer(Path(given)):
            raise CheckpointError(f"'{given}' holds neither tokenizer.json nor tokenizer.model; give a folder of LLaMA-1's tokenizer")
        return Path(given)
    return next((Path(folder) for folder in (released_dir, base) if folder is not None and has_tokenizer(Path(folder))), None)


def _write_processor(folder: Path, tokenizer_dir: Path | None, config: GPT4RoIConfig) -> None:
    if tokenizer_dir is None:
        return
    height, width = config.vision_config.image_size_hw
    tower: dict[str, Any] = cast("dict[str, Any]", config.vision_config.backbone)
    patch = tower["patch_size"]
    processor = GPT4RoIProcessor(
        build_tokenizer(tokenizer_dir),
        image_size_hw=(height, width),
        num_image_tokens=(height // patch) * (width // patch),
        prompt_style="vicuna_v0",
        resize="clip_two_step",
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
        image_token="<im_patch>",
        region_token="<bbox>",
    )
    processor.save_pretrained(folder)
