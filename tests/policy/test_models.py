"""Which models run, and that those that would say otherwise of the same tokens are refused with the reason."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sdsearch.agents.engines.transformers import Transformers, TransformersSampler, end_tokens
from sdsearch.contracts.engine import Model, Prompt, Sampling
from sdsearch.errors import ContextError, ModelError
from sdsearch.policy import agreement
from sdsearch.policy.attention import Attention
from sdsearch.policy.critic import Critic
from sdsearch.policy.policy import Policy, language_model

VOCABULARY = 60
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "d_model": 32,
    "embedding_size": 32,
    "intermediate_size": 48,
    "ffn_hidden_size": 48,
    "ffn_dim": 48,
    "num_hidden_layers": 4,
    "decoder_layers": 2,
    "encoder_layers": 1,
    "num_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "encoder_ffn_dim": 48,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "d_kv": 8,
    "rotary_dim": 8,
    "max_position_embeddings": 256,
    "sliding_window": 6,
    "initializer_range": 0.3,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "is_decoder": True,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "expert_ffn_hidden_size": 16,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "num_kv_shared_layers": 0,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "lru_width": 32,
    "state_size": 8,
    "mamba_d_state": 8,
    "time_step_rank": 4,
    "n_mamba_heads": 4,
}
"""What makes a model small, by the names of configurations; each takes what it knows."""


def tiny_model(kind: str, **settings: Any) -> Any:
    """Return a model of an architecture as the transformers library names it, the same each time."""
    cls = CONFIG_MAPPING[kind]
    default: Any = None
    with contextlib.suppress(TypeError, ValueError, AttributeError):  # some have no default
        default = cls()
    names = getattr(cls, "attribute_map", {})
    values: dict[str, Any] = {}
    for name, value in SMALL.items():
        if name == "sliding_window" and not getattr(default, name, None):
            continue
        if name in names:
            values[names[name]] = value
        elif (hasattr(cls, name) or hasattr(default, name)) and not isinstance(getattr(cls, name, None), property):
            values[name] = value
    torch.manual_seed(0)
    config = cls(**{**values, **settings})
    return AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]


class Letters:
    """A codec in which each token is a letter, for models that have no tokeniser."""

    ends = frozenset[int]()

    def __init__(self) -> None:
        self.tokenizer = self

    def __len__(self) -> int:
        return VOCABULARY

    def batch_decode(self, rows: Sequence[Sequence[int]], **_: Any) -> list[str]:
        return ["".join(map(chr, row)) for row in rows]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))


def apart(policy: Policy, turns: int = 4) -> float:
    """Play episodes with observations of other lengths, rows that end early, and holes.

    Return by how many nats a log-probability of sampling is at most off that of the model's own forward pass over the
    whole episode, which knows no cache and no padding, and of that of `Policy.logits`.
    """
    sampler = TransformersSampler(policy, holes=0.3)
    sampler.ends = frozenset()
    dice = torch.Generator().manual_seed(1)

    def words(count: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (count,), generator=dice).tolist()

    opening = words(5)
    contexts = [list(opening), list(opening), words(7)]
    said: list[list[tuple[int, int, float]]] = [[], [], []]
    for turn in range(turns):
        rows = [0, 1, 2] if turn < turns - 1 else [2, 0]
        prompts = [Prompt(r, tuple(contexts[r]), 1 + (r + turn) % 3 * 3, 7 * turn + r) for r in rows]
        for row, completion in zip(rows, sampler.sample(prompts, ["\ufffe"]), strict=True):
            start = len(contexts[row])
            found = zip(completion.tokens, completion.logprobs, strict=True)
            said[row] += [(start + i, token, logprob) for i, (token, logprob) in enumerate(found)]
            contexts[row] += [*completion.tokens, *words(1 + (row * 2 + turn) % 5)]
    error = 0.0
    with torch.no_grad():
        rest = [context[5:] for context in contexts]
        at = [[place - 5 for place, _, _ in of_row] for of_row in said]
        batch = policy.logits([context[:5] for context in contexts], rest, at).log_softmax(-1)
        scored = iter(batch)
        for context, of_row in zip(contexts, said, strict=True):
            whole = policy.model(torch.tensor([context]), use_cache=False).logits[0].float().log_softmax(-1)
            for place, token, logprob in of_row:
                expected = float(whole[place - 1, token])
                error = max(error, abs(expected - logprob), abs(expected - float(next(scored)[token])))
    return error


LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 100,
}
SWITCHED = {"rope_parameters": LONGROPE, "original_max_position_embeddings": 100}
RUN: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {}),
    "positions of its own": ("gpt2", {}),
    "ALiBi that follows the mask": ("bloom", {}),
    "a window in every layer": ("mistral", {}),
    "a window that never bites": ("mistral", {"sliding_window": 1000}),
    "a window and no list of layers, eager": ("starcoder2", {"sliding_window": 5}),
    "alternating windows, capped attention and logits": ("gemma2", {"final_logit_softcapping": 2.0}),
    "alternating windows, two rotations": ("gemma3_text", {}),
    "alternating windows, sinks": ("gpt_oss", {}),
    "alternating windows, norms after": ("olmo3", {}),
    "chunks": ("llama4_text", {"attention_chunk_size": 8, "intermediate_size_mlp": 32}),
    "logits over a number": ("granite", {"logits_scaling": 8.0}),
    "logits times a number": ("cohere", {"logit_scale": 0.25}),
    "scale and windows": ("cohere2", {"logit_scale": 4.0}),
    "a table that is not switched yet": ("phi3", {**SWITCHED, "sliding_window": 6}),
    "global attention": ("gpt_neo", {"attention_types": [[["global"], 4]]}),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "local attention by places": (
        "gpt_neo",
        {"attention_types": [[["global", "local"], 2]], "window_size": 8},
        "local attention that count places",
    ),
    "ALiBi by places": ("mpt", {}, "run by a cache in pieces, as an episode grows: .* differ by up to"),
    "no cache": ("openai-gpt", {}, "its decoder takes no past_key_values"),
    "a state": ("rwkv", {}, "RwkvForCausalLM .* run by a padded batch"),
    "a state between": ("qwen3_next", {}, "keeps LinearAttentionLayer: expected keys and values"),
    "a convolution": ("lfm2", {"layer_types": ["conv", "full_attention"] * 2}, "keeps LinearAttentionLayer"),
    "mamba": ("jamba", {}, "keeps LinearAttentionLayer"),
    "keys that are dropped": ("doge", {"keep_window_size": 8}, "a cache in pieces"),
    "a choice of keys": ("glm_moe_dsa", {}, "keeps DynamicIndexedLayer"),
    "sees what follows": ("cpmant", {}, "CpmAntForCausalLM"),
    "a head of layers": ("bert", {}, "changes its logits after the head in a way of its own"),
}


@pytest.mark.parametrize("what", RUN)
def test_a_model_that_runs_says_the_same_in_sampling_scoring_and_whole(what: str) -> None:
    kind, settings = RUN[what]
    assert apart(Policy(tiny_model(kind, **settings), Letters())) < 2e-4  # type: ignore[arg-type]


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_does_not_is_refused_with_the_reason(what: str) -> None:
    kind, settings, reason = REFUSED[what]
    with pytest.raises(ModelError, match=reason):
        Policy(tiny_model(kind, **settings), Letters())  # type: ignore[arg-type]


def test_without_the_masks_a_window_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attention, "mask", lambda self, mask, count: mask)
    with pytest.raises(ModelError, match=r"Gemma3ForCausalLM says otherwise .* as an episode grows"):
        Policy(tiny_model("gemma3_text"), Letters())  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [1.0, -1.0])
def test_a_cap_is_found_although_the_logits_are_small(monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    model = tiny_model("gemma2", initializer_range=0.02)
    assert Policy(model, Letters()).cap == 30.0  # type: ignore[arg-type]
    monkeypatch.setattr(agreement, "CAPS", ())
    with pytest.raises(ModelError, match="changes its logits after the head"):
        Policy(model, Letters())  # type: ignore[arg-type]


def test_the_table_of_a_longer_sequence_is_never_met() -> None:
    policy = Policy(tiny_model("phi3", **SWITCHED), Letters())  # type: ignore[arg-type]
    assert policy.positions == 100
    with pytest.raises(ModelError, match=r"context is 101 and the model has 100 positions before it takes another tab"):
        language_model(Model(), Sampling(context=101), policy)
    assert language_model(Model(), Sampling(), policy).context == 100
    policy.logits([[5] * 50], [[5] * 50], [[49]])
    with pytest.raises(ContextError, match="a sequence takes 101 tokens and the model has 100 positions"):
        policy.logits([[5] * 50], [[5] * 52], [[51]])


def test_a_window_of_another_kind_is_met_or_bounds_the_positions() -> None:
    model = tiny_model("llama", max_position_embeddings=2000)
    model.config.local_window = 20
    policy = Policy(model, Letters())  # type: ignore[arg-type]
    assert agreement.Ways(policy).length == 21
    assert policy.positions == 2000
    model.config.local_window = 700
    bounded = Policy(model, Letters())  # type: ignore[arg-type]
    assert agreement.Ways(bounded).length == 14
    assert bounded.positions == 699
    with pytest.raises(ModelError, match="context is 700 and the model has 699 places that it reads in one way"):
        language_model(Model(), Sampling(context=700), bounded)


def test_numbers_that_are_not_finite_are_told() -> None:
    model = tiny_model("llama")
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match="logits that are not finite: its weights hold NaN"):
        Policy(model, Letters())  # type: ignore[arg-type]


def test_a_large_model_is_looked_at_in_layers_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "LARGE", 0)
    seen: list[int] = []
    compare = agreement.Ways.compare

    def counted(ways: agreement.Ways) -> None:
        seen.append(sum(len(m) for m in ways.policy.decoder.children() if isinstance(m, torch.nn.ModuleList)))
        compare(ways)

    monkeypatch.setattr(agreement.Ways, "compare", counted)
    kinds = ["sliding_attention"] * 2 + ["full_attention", "sliding_attention"] * 2
    model = tiny_model("gemma3_text", num_hidden_layers=6, layer_types=kinds)
    assert apart(Policy(model, Letters())) < 2e-4  # type: ignore[arg-type]
    assert (seen, len(model.model.layers)) == ([3], 6)
    with pytest.raises(ModelError, match="as an episode grows"):
        Policy(tiny_model("mpt"), Letters())  # type: ignore[arg-type]
    assert seen == [3, 2, 4], "what the first layers fail, all of them have to fail"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_no_fault_and_hides_none(dtype: torch.dtype) -> None:
    for kind in ("gemma3_text", "gpt_oss", "mixtral", "llama"):
        model = tiny_model(kind).to(dtype)
        before = {name: weight.clone() for name, weight in model.state_dict().items()}
        Policy(model, Letters())  # type: ignore[arg-type]
        after = model.state_dict()
        assert all(torch.equal(before[n], w) and before[n].dtype == w.dtype for n, w in after.items())
    for kind, settings in (("mpt", {}), ("doge", {"keep_window_size": 8})):
        with pytest.raises(ModelError, match="as an episode grows"):
            Policy(tiny_model(kind, **settings).to(dtype), Letters())  # type: ignore[arg-type]


def test_what_scales_logits_scales_no_value() -> None:
    policy = Policy(tiny_model("granite", logits_scaling=8.0), Letters())  # type: ignore[arg-type]
    critic = Critic(policy, 1e-3, 1.0)
    assert (policy.scale, critic.twin.scale, critic.twin.cap) == (0.125, 1.0, None)
    assert policy.twin().scale == 0.125


def test_every_end_stops() -> None:
    model = tiny_model("gemma3_text", eos_token_id=[2, 5])
    policy = Policy(model, Letters())  # type: ignore[arg-type]
    policy.codec.ends = frozenset({9})
    model.generation_config.eos_token_id = [7, 8]
    assert end_tokens(policy) == {2, 5, 7, 8, 9}
    model.generation_config.eos_token_id = 7
    assert end_tokens(policy) == {2, 5, 7, 9}
    sampler = Transformers().open(Model(), Sampling(), policy)
    assert sampler.ends == {2, 5, 7, 9}


TABLE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
WINDOWED = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2}
LATENT = {"num_key_value_heads": 4}
MORE: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "falcon": {"new_decoder_architecture": False},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "llama4_text": {"attention_chunk_size": 8, "intermediate_size_mlp": 32},
    "phi3": {"original_max_position_embeddings": 100, "rope_parameters": LONGROPE},
    "qwen2": WINDOWED,
    "qwen3": WINDOWED,
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minicpm3", "youtu", "axk1"), LATENT),
    "granite": {"logits_scaling": 8.0},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
}
"""What shows most of an architecture where its own default does not."""


def verdict(kind: str) -> str | None:
    """Return how an architecture runs, or why it is refused; None where no small model of it can be made."""
    try:
        with torch.device("meta"):
            size = sum(p.numel() for p in tiny_model(kind, **MORE.get(kind, {})).parameters())
        model = tiny_model(kind, **MORE.get(kind, {})) if size < 5_000_000 else None
    except Exception:  # whatever its configuration raises: such a model is not made here
        return None
    if model is None:
        return None
    try:
        policy = Policy(model, Letters())  # type: ignore[arg-type]
    except ModelError as error:
        return f"refused: {shorter(str(error))}"
    assert apart(policy) < 1e-3, f"{kind} runs, and says otherwise of the same tokens"
    parts = ["runs"]
    parts += [f"windows ({', '.join(policy.attention.windows)})"] if policy.attention.windows else []
    parts += ["scaled logits"] if policy.scale != 1 else []
    parts += ["capped logits"] if policy.cap else []
    limits = policy.attention.limits
    if limits and (least := min(limits, key=limits.__getitem__)) != "positions":
        parts.append(f"for as many {least}")
    return ", ".join(parts)


def shorter(reason: str) -> str:
    """Return a reason without figures and advice."""
    reason = re.sub(r" \(\w+: .*\)(?=, its decoder)", "", reason)
    reason = (
        reason.partition(": log-prob")[0].partition(": choose")[0].partition(", as its")[0].partition(": expected")[0]
    )
    return re.sub(r"^\S+ ", "", reason).replace("|", "\\|")


def table() -> str:
    """Return the table of docs/models.md."""
    found = {kind: verdict(kind) for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}
    rows = [f"| `{kind}` | {what} |\n" for kind, what in found.items() if what]
    return "| `model_type` | |\n|---|---|\n" + "".join(rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_which_models_run_is_as_the_docs_say() -> None:
    """`python tests/policy/test_models.py` writes the table anew."""
    assert TABLE.read_text().partition(BEGIN)[2].partition(END)[0] == table()


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_want_of_memory_is_no_fault_of_the_model(tiny: Policy, error: type[Exception]) -> None:
    def way() -> None:
        raise error

    with pytest.raises(error):
        agreement.attempt(tiny, "its own forward pass", way)


if __name__ == "__main__":
    before, _, rest = TABLE.read_text().partition(BEGIN)
    TABLE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
