"""What a box shows: four witnesses, joined by weights that were fitted on held-out boxes, as one probability for each common name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gpt4roi.eyes.names import Names
from gpt4roi.models.eyes_net import IMAGENET_CLASSES, Witnesses

# Nobody's silence is proof: what a witness can take from a name is bounded.
FLOOR = 1e-4


@dataclass(frozen=True)
class Reading:
    """What one box shows.

    probabilities: float32[common names], in the order of `Names.common`. kinds: float32[1000], ImageNet's own classes.
    """

    probabilities: Tensor
    kinds: Tensor


class Fusion(nn.Module):
    """Log probabilities of the witnesses, weighted; the weights depend on who knows a name and, linearly, on the logarithm of its area.

    pattern: int64[names], which of the combinations of witnesses knows a name. A name's score is the weighted sum over those who know it.
    """

    def __init__(self, crop: Tensor, detector: Tensor, members: Tensor) -> None:
        super().__init__()
        self.crop, self.detector, self.members = crop, detector, members
        knows = torch.stack([crop >= 0, detector >= 0, members.any(0)], dim=1)
        self.pattern = knows.long() @ torch.tensor([4, 2, 1])
        self.knows = knows
        self.weights = nn.Parameter(torch.full((8, 5), 0.4))
        self.by_area = nn.Parameter(torch.zeros(8, 5))
        self.bias = nn.Parameter(torch.zeros(8))

    @classmethod
    def new(cls, names: Names) -> Fusion:
        """For a table of names: crop and detector rows (-1 where there is none), and ImageNet's classes as a 0/1 matrix [1000, names]."""
        entries = [names.entries[index] for index in names.common]
        crop = torch.tensor([-1 if entry.crop is None else entry.crop for entry in entries])
        detector = torch.tensor([-1 if entry.detector is None else entry.detector for entry in entries])
        return cls(crop, detector, fold_classes(names))

    def forward(self, witnesses: Witnesses, areas: Tensor) -> Tensor:
        """Scores float32[N, names], whose softmax is the joint probability. `areas`: float32[N], share of the image that each box covers."""
        return self.joined(self.evidence(witnesses), areas)

    def evidence(self, witnesses: Witnesses) -> Tensor:
        """What each witness says of each name, as logarithms: float32[N, names, 5]. Where it knows none of it, anything stands there."""
        crop = witnesses.crop.log_softmax(-1).clamp(min=-9.0)[:, self.crop.clamp(min=0)]
        region = witnesses.region.log_softmax(-1).clamp(min=-9.0)[:, self.crop.clamp(min=0)]
        seen = witnesses.detector.clamp(min=1e-3)
        # What the detector is sure of, and which of its classes it would be if it is one.
        detector = seen.log()[:, self.detector.clamp(min=0)]
        of_its_classes = (seen / seen.sum(-1, keepdim=True)).log()[:, self.detector.clamp(min=0)]
        imagenet = (witnesses.imagenet.softmax(-1) @ self.members).clamp(min=FLOOR).log()
        return torch.stack([crop, region, detector, of_its_classes, imagenet], dim=-1)

    def joined(self, evidence: Tensor, areas: Tensor, only_imagenet: Tensor | None = None) -> Tensor:
        """Scores of what `evidence` gave.

        Args:
          only_imagenet: int64[N], a name of each row that all witnesses but ImageNet's are to ignore; for fitting.
        """
        known = self.knows[:, [0, 0, 1, 1, 2]].float()
        scores = self._score(evidence, known, self.pattern, areas)
        if only_imagenet is not None:
            alone = self._score(
                evidence[torch.arange(len(areas)), only_imagenet][:, None],
                torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]]).expand(len(areas), 5)[:, None],
                torch.ones(len(areas), 1, dtype=torch.long),
                areas,
            )
            scores = scores.scatter(1, only_imagenet[:, None], alone)
        return scores

    def _score(self, evidence: Tensor, known: Tensor, pattern: Tensor, areas: Tensor) -> Tensor:
        log_area = (areas.log() / 3)[:, None, None]
        weights = self.weights[pattern] + self.by_area[pattern] * log_area
        return (evidence * weights * known).sum(-1) + self.bias[pattern]


def fold_classes(names: Names) -> Tensor:
    """Which ImageNet classes stand for which common name: float32[1000, common names] of 0 and 1."""
    members = torch.zeros(IMAGENET_CLASSES, len(names.common))
    for place, index in enumerate(names.common):
        members[list(names.entries[index].imagenet), place] = 1
    for entry in names.entries:
        if entry.of is not None:
            members[list(entry.imagenet), names.common.index(entry.of)] = 1
    return members
