"""Answers that must have a form: before each token, whatever would break it is ruled out. llguidance does the grammar."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from gpt4roi.errors import UserError

MAX_SCHEMA_CHARACTERS = 20_000


class Constraint(Protocol):
    """Belongs to one answer."""

    def restrict(self, logits: Tensor) -> None:
        """Sets float32[V] to -inf in place where a token may not follow."""

    def accept(self, token: int) -> None:
        """Told of each token that was chosen."""


class JsonForms:
    """Constraints to JSON for one tokenizer, which is read on first use.

    Args:
      end_ids: tokens that end an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end_ids: Collection[int]) -> None:
        self._tokenizer: Any = tokenizer
        self._end_ids = sorted(end_ids)
        self._lock = threading.Lock()
        self._read: Any = None

    def constraint(self, schema: Any) -> Constraint:
        """An answer that is JSON of this schema, without space between its parts.

        Raises:
          UserError: llguidance is missing, or the schema is too long or one that it cannot keep.
        """
        try:
            import llguidance
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise UserError("response_format needs the package llguidance; install it with: pip install llguidance") from error
        text = json.dumps(schema)
        if len(text) > MAX_SCHEMA_CHARACTERS:
            raise UserError(f"the JSON schema has {len(text):,} characters; at most {MAX_SCHEMA_CHARACTERS:,} are taken")
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_flexible": False})
            with self._lock:
                if self._read is None:
                    self._read = from_tokenizer(self._tokenizer, eos_token=self._end_ids)
            matcher = llguidance.LLMatcher(self._read, grammar)
        except (ValueError, TypeError) as error:
            raise UserError(f"the JSON schema cannot be kept ({str(error).splitlines()[0][:120]}); use a simpler one") from error
        if matcher.is_error():
            raise UserError(f"the JSON schema cannot be kept ({matcher.get_error().splitlines()[0][:120]}); use a simpler one")
        return _Matched(matcher)


class _Matched:
    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def restrict(self, logits: Tensor) -> None:
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        allowed = torch.zeros(len(logits), dtype=torch.bool)
        count = min(len(bits), len(logits))
        allowed[:count] = torch.from_numpy(bits[:count].astype(bool))
        logits[~allowed.to(logits.device)] = -torch.inf

    def accept(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"token {token} was chosen against the grammar: {self._matcher.get_error()}")
