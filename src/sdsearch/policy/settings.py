"""Which language model, and how it samples: settings only, nothing is loaded here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sdsearch.config.component import Settings


class PolicySettings(Settings):
    """A model of the transformers library and how its text is sampled."""

    model: str = "seed-policy"
    """A folder, a hub name, or a name under the package's own weights."""
    gguf_file: str | None = None
    """The GGUF file inside `model`, for weights in that form."""
    chat: bool = False
    """Put the prompt through the tokeniser's chat template, once, as the user's message. A template that would write
    earlier turns otherwise later on is refused."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits, in sampling and in training alike."""
    max_new_tokens: int = Field(64, ge=1)
    """The most tokens that one turn may take; a turn cut off here is an invalid action unless one stands in it."""
    context: int | None = Field(None, ge=16)
    """The most tokens that an episode may take; one that would go past it ends as `context_full`. By default all that
    the model has positions for; leave room for a hint where one is put in front."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights while sampling and training."""
    device: str = "auto"
    """Where the weights go; "auto" takes an accelerator if there is one."""
    trust_remote_code: bool = False
    """Run code that comes with a model from the hub."""
