"""A causal language model with its codec: logits only where they are needed."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdsearch.contracts.engine import LanguageModel, Model, Sampling
from sdsearch.contracts.environment import BARE, TAGS, Preamble
from sdsearch.errors import ContextError, ModelError
from sdsearch.policy.agreement import agree, finished
from sdsearch.policy.attention import Attention, branch
from sdsearch.policy.batching import beginning, of_like_length, pad
from sdsearch.policy.codec import TokenizerCodec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = Path(__file__).parents[1] / "agents" / "weights"


class Policy:
    """The model that samples, is trained, and teaches itself.

    The decoder (everything below the language-model head) is run on whole sequences, the head only on the positions
    that somebody asked for. When it is made, random sequences show that every way of running it gives the same logits;
    see `sdsearch.policy.agreement`.
    """

    def __init__(self, model: PreTrainedModel, codec: TokenizerCodec, temperature: float = 1.0) -> None:
        """Wrap a loaded model. `temperature` divides the logits: what is trained is what is sampled from.

        Raises `ModelError`, with the reason, for a model whose log-probabilities would depend on how it is run.
        """
        self.codec = codec
        self.temperature = temperature
        self._hold(model)
        if self.head is None:
            raise ModelError(f"{type(model).__name__} has no language-model head: expected a causal language model")
        self.attention = Attention(model)
        self.scale: float = 1.0
        """What the model multiplies the logits of its head by."""
        self.cap: float | None = None
        """What it squeezes them below."""
        agree(self)

    def _hold(self, model: Any) -> None:
        """Take a model, its head, and what is below it."""
        # The types of transformers end at "Tensor | Module": what these hold is checked by `agree`.
        self.model = model
        self.head: Any = model.get_output_embeddings()
        self.decoder: Any = model.get_decoder()
        if self.decoder is model:  # some say so of themselves, head and all
            self.decoder = model.model

    def twin(self) -> Policy:
        """Return a policy with a copy of the weights."""
        twin = copy.copy(self)
        twin._hold(copy.deepcopy(self.model))
        return twin

    @classmethod
    def load(
        cls,
        settings: Model,
        temperature: float = 1.0,
        tags: Collection[str] = TAGS,
        preamble: Preamble = BARE,
    ) -> Policy:
        """Load weights and tokeniser, safetensors or GGUF only; nothing of a model's own code runs unless allowed.

        `tags` and `preamble` are the protocol's, see `Grammar`. Raises `ModelError` when something that is needed is
        missing.
        """
        from transformers import AutoModelForCausalLM, GgufConfig
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        form: dict[str, Any] = {"use_safetensors": True}
        if settings.gguf_file:
            # Weights that stay in GGUF's blocks could be neither trained nor saved.
            form = {"quantization_config": GgufConfig(dequantize=True)}
        codec = load_codec(settings, tags, preamble)
        with loading(settings) as (name, options):
            model = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, settings.dtype), **form, **options)
        device = settings.device
        if device == "auto":
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            device = accelerator.type if accelerator else "cpu"
        model.to(torch.device(device))  # type: ignore[arg-type]
        broken = [name for name, p in model.named_parameters() if p.device.type != "meta" and not p.isfinite().all()]
        if broken:
            raise ModelError(
                f"the model {settings.name!r} holds weights that are not finite, in {broken[0]} and {len(broken) - 1} "
                "others: its file is damaged, or training destroyed it; take an earlier checkpoint or another model"
            )
        return cls(model, codec, temperature)

    @property
    def positions(self) -> int:
        """The longest sequence that the model is made for and reads in one way, in tokens."""
        return self.attention.positions or 1 << 20

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    def hidden(self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Any = None) -> Tensor:
        """Run the decoder. `tokens`, `positions`: [B, S]; `mask`: [B, T] with T = cached + S. Returns [B, S, H].

        Raises `ContextError` for a sequence that is longer than the model has positions.
        """
        if mask.shape[1] > self.positions and (need := int(mask.sum(1).max())) > self.positions:
            raise ContextError(f"a sequence takes {need} tokens and the model has {self.positions} positions")
        if (places := self.attention.places) and mask.shape[1] > places:
            raise ContextError(
                f"a batch takes {mask.shape[1]} places of the cache and the model counts them from {places} on: lower "
                "sampling.context or sampling.engine.holes"
            )
        out = self.decoder(
            input_ids=tokens,
            attention_mask=self.attention.mask(mask, tokens.shape[1]),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden: Tensor = out.last_hidden_state
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Return float32 logits at the sampling temperature for hidden states [..., H]: [..., V]."""
        logits: Tensor = self.head(hidden)
        return finished(logits.float(), self.scale, self.cap) / self.temperature

    def logits(
        self, prompts: Sequence[Sequence[int]], rest: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]
    ) -> Tensor:
        """Return the logits that predict chosen tokens of some sequences.

        Sequence i is `prompts[i] + rest[i]`; `positions[i]` are indices into `rest[i]`, ascending. The decoder stops at
        the last one, and a prompt that several sequences share is run once, with gradient or without.
        Returns [sum of len(positions[i]), V], in order.
        """
        rest = [r[: p[-1]] if p else () for r, p in zip(rest, positions, strict=True)]
        parts, order = list[Tensor](), list[tuple[int, int]]()
        for run, hidden in self.shared(prompts, rest):
            chosen = [(row, i, at) for row, i in enumerate(run) for at in positions[i]]
            rows, _, columns = torch.tensor(chosen, dtype=torch.long, device=self.device).reshape(-1, 3).T
            parts.append(hidden[rows, columns])
            order += [(i, at) for _, i, at in chosen]
        # Runs are of like lengths: what was asked for has its own order.
        back = sorted(range(len(order)), key=order.__getitem__)
        return self.project(torch.cat(parts)[torch.tensor(back, dtype=torch.long, device=self.device)])

    def shared(
        self, prompts: Sequence[Sequence[int]], rest: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Run sequences `prompts[i] + rest[i]`: each distinct prompt once, and once what all of these begin with.

        The rests are run with those of like length. Yields, for each run, which sequences it is of and their hidden
        states [B, 1 + S, H]: of the last token of each prompt, then of the rests.
        """
        place = {prompt: i for i, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        distinct, opened = list(place), self.attention.cache()
        mask = torch.ones(len(distinct), 0, dtype=torch.long, device=self.device)
        if shared := beginning(distinct):
            _, _, mask = self._after(opened, mask[:1], [shared])
            everywhere = torch.zeros(len(distinct), dtype=torch.long, device=self.device)
            opened, mask = branch(opened, everywhere), mask[everywhere]
            distinct = [prompt[len(shared) :] for prompt in distinct]
        opening, new, mask = self._after(opened, mask, distinct)
        opening = opening[torch.arange(len(distinct), device=self.device), new.sum(1) - 1]
        for run in of_like_length([len(r) for r in rest]):
            index = torch.tensor([place[tuple(prompts[i])] for i in run], device=self.device)
            hidden = opening[index][:, None]
            if any(rest[i] for i in run):
                later, _, _ = self._after(branch(opened, index), mask[index], [rest[i] for i in run])
                hidden = torch.cat([hidden, later], 1)
            yield run, hidden

    def _after(self, cache: Any, mask: Tensor, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Run rows [B] after what a cache holds of each, told by `mask` [B, T].

        Returns their hidden states [B, S, H], which of these are no padding [B, S], and the mask with both [B, T + S].
        """
        tokens, new = pad(rows, self.device)
        mask = torch.cat([mask, new], 1)
        positions = mask.cumsum(1).sub(1)[:, -new.shape[1] :].clamp_min(0)
        return self.hidden(tokens, mask, positions, cache), new, mask


def load_codec(settings: Model, tags: Collection[str] = TAGS, preamble: Preamble = BARE) -> TokenizerCodec:
    """Load a model's tokeniser alone, for a protocol with these tags and this preamble.

    Raises `ModelError` when it is missing or its chat template cannot be used.
    """
    from transformers import AutoTokenizer

    with loading(settings) as (name, options):
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
    return TokenizerCodec(tokenizer, settings.chat, tags, preamble, settings.observations)


def place(settings: Model) -> Path | None:
    """Return the folder that a name stands for: one of ours, or an installed package that holds the GGUF file."""
    if (WEIGHTS / settings.name).is_dir():
        return WEIGHTS / settings.name
    if not settings.gguf_file or not settings.name.isidentifier() or Path(settings.name).exists():
        return None
    found = importlib.util.find_spec(settings.name)
    folders = [Path(folder) for folder in (found.submodule_search_locations or () if found else ())]
    return next((folder for folder in folders if (folder / settings.gguf_file).is_file()), None)


@contextmanager
def loading(settings: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the name that transformers knows a model by, and options for it; raise `ModelError` for what it raises."""
    options: dict[str, Any] = {"trust_remote_code": settings.trust_remote_code}
    if settings.gguf_file:
        options["gguf_file"] = settings.gguf_file
    here = Path(settings.name)
    if not here.is_absolute() and here.is_dir() and not (WEIGHTS / here).is_dir():
        raise ModelError(
            f"the model {settings.name!r} has the name of a folder in the working directory, expected a name of the "
            "hub or of the package's weights, or a path: one that begins with ./ is seen from its spec"
        )
    try:
        yield str(place(settings) or settings.name), options
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"the model {settings.name!r} could not be loaded: {error}\nexpected a folder or hub name that holds "
            "config.json, tokenizer.json and *.safetensors, or `gguf_file` naming a GGUF file in it"
        ) from error


def language_model(model: Model, sampling: Sampling, policy: Policy) -> LanguageModel:
    """Open what samples from a policy, and return it with all that an agent needs to act with it.

    Raises `ModelError` when an episode may take more tokens than the model has positions.
    """
    if sampling.context is not None and sampling.context > policy.positions:
        limits = policy.attention.limits
        raise ModelError(
            f"sampling.context is {sampling.context} and the model has {policy.positions} "
            f"{min(limits, key=limits.__getitem__, default='positions')}: lower it"
        )
    sampler = sampling.engine.open(model, sampling, policy)
    return LanguageModel(policy.codec, sampler, sampling.max_new_tokens, sampling.context or policy.positions)
