"""From samples to batches: fit each sample to the length, then let the processor write the tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch.utils.data import Dataset

from gpt4roi.boxes import Box
from gpt4roi.data.errors import DataError
from gpt4roi.data.mixture import estimated_length
from gpt4roi.data.sample import Sample
from gpt4roi.data.truncation import TruncationReport, fit_to_length

# So many samples in a row that are too long are a wrong length, not bad luck.
MAX_MISFITS = 1000


class Processor(Protocol):
    """What this package needs of a GPT4RoI processor; it is handed one and never imports it.

    `encode` returns an object whose `input_ids` are the tokens of one conversation, placeholders included.
    """

    def __call__(self, images: Any, conversations: Any, boxes: Any, labels: bool) -> Mapping[str, Any]: ...

    def encode(self, conversation: Any, *, has_image: bool, known_numbers: Sequence[int]) -> Any: ...


def sample_boxes(sample: Sample) -> dict[int, Box]:
    """Boxes by region number, pixels of the original image."""
    return {region.number: region.box_xyxy for region in sample.regions}


class RegionDataset(Dataset[Sample]):
    """Samples that fit, one for every index.

    A sample of which not even the first answer fits is counted and its place is taken by the next one that does: a batch is never
    empty and every rank makes the same number of steps. Tokenising runs where `__getitem__` runs, in the workers.

    Args:
      samples: a `Mixture`, or any sequence of samples.
      processor: counts tokens; see `Processor`.
      max_length: most tokens of a sample, image included; None = no limit.
    """

    def __init__(self, samples: Sequence[Sample], processor: Processor, max_length: int | None = None) -> None:
        self.samples = samples
        self.processor = processor
        self.max_length = max_length
        self.truncation = TruncationReport(max_length)

    def __len__(self) -> int:
        return len(self.samples)

    def set_epoch(self, epoch: int) -> None:
        """Handed on to a mixture; a plain sequence has no epochs."""
        if hasattr(self.samples, "set_epoch"):
            self.samples.set_epoch(epoch)

    def __getitem__(self, index: int) -> Sample:
        """Raises DataError if no sample fits at all."""
        for step in range(min(len(self), MAX_MISFITS)):
            fitted = self._fitted(self.samples[(index + step) % len(self)], self.truncation)
            if fitted is not None:
                return fitted
        tried = "no sample fits" if len(self) <= MAX_MISFITS else f"{MAX_MISFITS} samples in a row do not fit"
        raise DataError(f"{tried} into {self.max_length} tokens; choose a larger maximum length or shorter samples")

    def _fitted(self, sample: Sample, report: TruncationReport) -> Sample | None:
        if self.max_length is None:
            fitted: Sample | None = sample
            dropped_turns = 0
        else:
            fitted, dropped_turns = fit_to_length(sample, self.count_tokens, self.max_length)
        report.add(dropped_turns, is_dropped=fitted is None)
        return fitted

    def count_tokens(self, sample: Sample) -> int:
        """Tokens of one sample, its image's placeholders included."""
        encoded = self.processor.encode(list(sample.conversation), has_image=sample.image is not None, known_numbers=sample.region_numbers)
        return len(encoded.input_ids)

    def scan(self, limit: int | None = None) -> TruncationReport:
        """What would be shortened or left out, of the first `limit` samples of this epoch, without opening an image."""
        report = TruncationReport(self.max_length)
        for index in range(len(self) if limit is None else min(limit, len(self))):
            self._fitted(self.samples[index], report)
        return report

    @property
    def lengths(self) -> list[int]:
        """Estimated tokens of text of every item of this epoch, for grouping batches by length; cut at the limit."""
        estimates = self.samples.lengths if hasattr(self.samples, "lengths") else [estimated_length(sample) for sample in self.samples]
        return [length if self.max_length is None else min(length, self.max_length) for length in estimates]


class RegionCollator:
    """Samples to one batch of the model's inputs with labels, by the processor alone (which opens, resizes and scales boxes)."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def __call__(self, samples: Sequence[Sample]) -> Mapping[str, Any]:
        """Raises DataError naming the sample that the processor refuses."""
        try:
            return self._batch(samples)
        except (ValueError, OSError) as error:
            # One bad sample among thousands must be traceable, so find out which one it was.
            for sample in samples:
                try:
                    self._batch([sample])
                except (ValueError, OSError) as cause:
                    place = str(sample.image) if sample.image is not None else "text only"
                    raise DataError(f"sample '{sample.sample_id}' ({place}) cannot be used: {cause}") from cause
            raise DataError(f"a batch of {len(samples)} samples cannot be built: {error}") from error

    def _batch(self, samples: Sequence[Sample]) -> Mapping[str, Any]:
        return self.processor(
            images=[sample.image for sample in samples],
            conversations=[list(sample.conversation) for sample in samples],
            boxes=[sample_boxes(sample) for sample in samples],
            labels=True,
        )
