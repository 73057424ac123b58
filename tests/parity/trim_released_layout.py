"""How `data/released_layout_trimmed.npz` was made: `python tests/parity/trim_released_layout.py RELEASED_LAYOUT_TINY`.

The whole folder is 17 MB, nearly all of it word rows that no test looks at. What is kept, exactly: the vision tower up to the hidden state
that is used, projector, language model, the rows of words that are read or that win, one image, one dialogue, one generation. What is
left out: the region module (`region_encoder_tiny.pt` has one of the same size) and every other word row.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

OUTPUT = Path(__file__).parent / "data" / "released_layout_trimmed.npz"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
# Of an image's 256 features this many are compared; text and regions all are.
FEATURE_STEP = 32
IMAGE_TOKEN = 32001


def loss_of(hidden: Tensor, head: Tensor, labels: Tensor) -> float:
    """Mean next-token cross entropy in float64."""
    logits = hidden[:, :-1].double() @ head.double().T
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100))


def main(folder: Path) -> None:
    expected: dict[str, Any] = torch.load(folder / "expected.pt", weights_only=True)
    weights: dict[str, Tensor] = {}
    for shard in sorted((folder / "checkpoint").glob("*.bin")):
        weights |= torch.load(shard, weights_only=True)
    tower = {f"clip.{name}": tensor for name, tensor in load_file(folder / "clip" / "model.safetensors").items()}

    # The loss of one dialogue is not among the reference's outputs; computed like this, that of both together is the reference's.
    both = loss_of(expected["final_hidden"], weights[HEAD], expected["labels"].masked_fill(~expected["attention_mask"], -100))
    if abs(both - float(expected["loss"])) > 1e-5:
        raise SystemExit(f"the loss from the reference's hidden states is {both}, its own is {float(expected['loss'])}")

    length = int(expected["attention_mask"][0].sum())
    ids, labels = expected["input_ids"][:1, :length], expected["labels"][:1, :length]
    # Without the region module nothing can be generated about another box than those whose features are known.
    if not torch.equal(expected["gen_bboxes"], expected["bboxes"][0][: len(expected["gen_bboxes"])]):
        raise SystemExit("the generation is about boxes that are not the dialogue's first")
    read = torch.cat([ids[0], expected["gen_prompt"], expected["gen_new"]]).unique()
    winners = torch.cat([expected["argmax"][0, :length], expected["gen_new"], labels[labels >= 0]]).unique()
    head = torch.zeros_like(weights[HEAD])
    head[winners] = weights[HEAD][winners]
    hidden = expected["final_hidden"][:1, :length]
    compared = torch.tensor([i for i, token in enumerate(ids[0].tolist()) if token != IMAGE_TOKEN or i % FEATURE_STEP == 0])

    kept: dict[str, Tensor] = {name: tensor for name, tensor in weights.items() if ".spi_module." not in name}
    kept |= {EMBEDDING: weights[EMBEDDING][read], HEAD: weights[HEAD][winners]}
    last = max(int(name.split(".")[3]) for name in tower if ".layers." in name)
    kept |= {name: tensor.half() for name, tensor in tower.items() if f".layers.{last}." not in name}
    for name, tensor in kept.items():
        if name.startswith("clip.") and not torch.equal(tensor.float(), tower[name]):
            raise SystemExit(f"{name} is not exact in float16")
    kept |= {
        "embedding_ids": read.to(torch.int32),
        "head_ids": winners.to(torch.int32),
        "pixel_values": expected["pixel_values"][:1],
        "input_ids": ids.to(torch.int32),
        "labels": labels.to(torch.int32),
        "boxes": expected["bboxes"][0],
        "compared": compared.to(torch.int32),
        "inputs_embeds": expected["inputs_embeds"][0, compared],
        "final_hidden": expected["final_hidden"][0, compared],
        "argmax": expected["argmax"][0, :length].to(torch.int32),
        "loss": torch.tensor(loss_of(hidden, head, labels)),
        "gen_prompt": expected["gen_prompt"].to(torch.int32),
        "gen_new": expected["gen_new"].to(torch.int32),
        "gen_last_logits": expected["gen_last_logits"][winners],
    }
    np.savez_compressed(OUTPUT, **{name: tensor.numpy() for name, tensor in kept.items()})
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size / 1e6:.2f} MB, {len(read)} and {len(winners)} word rows, loss {float(kept['loss']):.6f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
