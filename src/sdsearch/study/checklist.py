"""What a comparison of ways to assign credit has to say about itself, filled in from specs and records.

After the complaint of a survey (arXiv 2604.09459) that papers on credit assignment state neither compute nor variance,
nor what their baselines were given. The items and their wording are ours. What no program can know (for whom
hyper-parameters were tuned) the author of the study writes into `tuning`; left empty, that is said.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel

import sdsearch
from sdsearch.config.catalogue import first_line
from sdsearch.config.component import Component
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.hint import Hint
from sdsearch.runs.provenance import recorded
from sdsearch.spec import Experiment
from sdsearch.study.comparison import Comparison
from sdsearch.study.spec import Study

Item = tuple[str, str]


def checklist(comparison: Comparison) -> list[Item]:
    """Return the items: a name and what there is to say."""
    study, specs = comparison.study, {job.arm: job.experiment for job in comparison.jobs}
    reference = specs[study.reference]
    count = len(study.seeds)
    return [
        ("Model", by_arm(specs, lambda e: f"{section(e.model)}, sampled by {section(e.sampling)}")),
        ("Data and splits", by_arm(specs, data)),
        ("Environment", by_arm(specs, lambda e: section(e.environment))),
        ("Seeds", f"{count} ({', '.join(map(str, study.seeds))}), the same for every arm: {SHARED}{unshared(specs)}"),
        ("What is matched", matched(comparison)),
        ("Evaluations", by_arm(specs, lambda e: evaluations(comparison, e))),
        ("Compute", compute(comparison)),
        ("Machine", machines(comparison)),
        ("What each arm credits", by_arm(specs, credited)),
        ("What it needs beyond rollouts and rewards", by_arm(specs, needed)),
        ("Baselines", baselines(study)),
        ("Variance", variance(comparison)),
        (
            "Selection",
            "None: the last weights are judged, not the best ones. All evaluations use the same test questions.",
        ),
        (
            "Hyper-parameters",
            f"{study.tuning or UNTOLD} Learning rate of the reference: {reference.train.learning_rate:g}.",
        ),
        ("Failures and outages", failures(comparison)),
        ("Version", versions(comparison)),
    ]


SHARED = "initial weights, order of questions and seeds of sampling depend on seed and step alone."
UNTOLD = (
    "Not stated (`tuning` of the study is empty): take it that they suit the experiment that they were chosen for, and "
    "that other arms might do better with others."
)


def evaluations(comparison: Comparison, spec: Experiment) -> str:
    """Say how often runs were judged: areas under curves of few points are not those under the same curve of many."""
    counts = {len(record.points) for record in comparison.arms[spec.name].values()}
    return f"{' or '.join(map(str, sorted(counts))) or 'none yet'} a run"


def matched(comparison: Comparison) -> str:
    """Say what is equal between arms, and how far apart they are in the rest."""
    (quantity, amount), arms = next(iter(comparison.study.budget.items())), comparison.arms
    parts = [f"{quantity} ({amount:,} each; a run ends after the step that reaches it)"]
    for name in ("steps", "rollouts", "tokens", "seconds"):
        means = [
            comparison.mean(arm, lambda r, n=name: r.steps if n == "steps" else getattr(r.spent, n))  # type: ignore[misc]
            for arm in arms
        ]
        values = [e.value for e in means if e]
        if values and min(values) > 0:
            parts.append(f"{name} {max(values) / min(values) - 1:.1%}")
    return f"{parts[0]}. Between the arms that used least and most: {', '.join(parts[1:]) or 'nothing has run yet'}."


def compute(comparison: Comparison) -> str:
    """Say what all runs together took."""
    records = list(comparison.every.values())
    begun, training = sum(bool(r.lines) for r in records), sum(r.spent.seconds for r in records) / 3600
    evaluation = sum(sum(line["seconds"].values()) for r in records for line in r.lines if "evaluate" in line) / 3600
    rollouts, tokens = (sum(getattr(r.spent, name) for r in records) for name in ("rollouts", "tokens"))
    return (
        f"{training:.2f} h of training and {evaluation:.2f} h of evaluation in {begun} runs, "
        f"{comparison.study.workers} at once with {comparison.study.threads} thread(s) each; {rollouts:,.0f} rollouts, "
        f"{tokens:,.0f} sampled tokens. Runs at the same time slow each other down: compare seconds within a study."
    )


def baselines(study: Study) -> str:
    """Say what each arm changes in the experiment."""
    changes = (f"*{arm}*: {f'`{json.dumps(over)}`' if over else 'as it is'}" for arm, over in study.arms.items())
    return f"The reference is *{study.reference}*. Changes to `{study.experiment}`: {'; '.join(changes)}."


def variance(comparison: Comparison) -> str:
    """Say what the intervals hold and what they leave out."""
    questions = min(len(j.experiment.held_out()) for j in comparison.jobs)
    reference = comparison.mean(comparison.study.reference, lambda r: r.final)
    error = f"{math.sqrt(reference.value * (1 - reference.value) / questions):.3f}" if reference else "unknown"
    seeds = (
        "One seed: no interval, and no conclusion about which arm is better."
        if len(comparison.study.seeds) == 1
        else ""
    )
    text = (
        f"95 % t intervals over seeds, differences paired by seed. Not in them: the choice of {questions} "
        f"questions, whose standard error alone is {error} for the reference; other models and data. p values are "
        f"adjusted for {len(comparison.arms) - 1} comparisons with the reference (Holm)."
    )
    return " ".join(filter(None, (seeds, text)))


def failures(comparison: Comparison) -> str:
    """Count what went wrong."""
    missing = sum(not r.done and r.job not in comparison.failed for r in comparison.every.values())
    asked = [line["retrieval"] for r in comparison.every.values() for line in r.lines if "retrieval" in line]
    outages, calls = (sum(a.get(name, 0) for a in asked) for name in ("outages", "calls"))
    warned = listed(
        f"{w['limit']} in {r.job.name}"
        for r in comparison.every.values()
        for m in r.trained
        for w in m.get("warnings", ())
    )
    return (
        f"{len(comparison.failed)} runs failed, {missing} not run or not ended; {outages:.0f} outages in "
        f"{calls:.0f} retrievals (episodes that one ends are left out of all means); warnings: {warned}."
    )


def about(comparison: Comparison) -> list[dict[str, Any]]:
    """Return environment.json of each run that has one."""
    return [made for job in comparison.jobs if (made := recorded(job.experiment.folder))]


def machines(comparison: Comparison) -> str:
    """Name the systems on which the runs were begun."""
    systems = listed(f"{m.get('system', 'unknown')}, {m.get('cores', 'unknown')} cores" for m in about(comparison))
    return f"{systems}; device: {listed(j.experiment.model.device for j in comparison.jobs)}."


def versions(comparison: Comparison) -> str:
    """Name versions and commits; more than one, of the package or of a component, is said aloud."""
    made = about(comparison)
    commits = sorted({str(m.get("commit") or "not in a git checkout") for m in made})
    packages = sorted({f"{name} {v}" for m in made for name, v in m.get("packages", {}).items()})
    hashes = sorted({pair for m in made for pair in m.get("code", {}).items()})
    differing = [name for name, count in Counter(name for name, _ in hashes).items() if count > 1]
    mixed = " **Runs were begun with different commits.**" * (len(commits) > 1)
    mixed += f" **Runs were begun with different code of {', '.join(differing)}.**" if differing else ""
    return f"sdsearch {sdsearch.__version__}, commit {listed(commits)}.{mixed} {', '.join(packages)}."


def listed(texts: Iterable[str]) -> str:
    """Return texts once each, in order."""
    return ", ".join(dict.fromkeys(texts)) or "none"


M = TypeVar("M", bound=Component)


def by_arm(specs: dict[str, Experiment], say: Callable[[Experiment], str]) -> str:
    """Say something of every arm, once for those of which it is the same."""
    arms: dict[str, list[str]] = {}
    for arm, spec in specs.items():
        arms.setdefault(say(spec), []).append(f"*{arm}*")
    if len(arms) == 1:
        return f"{next(iter(arms))}, in all arms."
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in arms.items()) + "."


def unshared(specs: dict[str, Experiment]) -> str:
    """Say aloud in what arms differ beside objective and rollouts, where that may be what is seen."""
    parts: dict[str, Callable[[Experiment], object]] = {
        "model": lambda e: e.model,
        "sampling": lambda e: e.sampling,
        "agent": lambda e: e.agent,
        "environment": lambda e: e.environment,
        "training questions": lambda e: e.data and e.data.train,
        "questions a step": lambda e: e.train.questions,
    }
    differing = [
        name for name, of in parts.items() if any(of(e) != of(next(iter(specs.values()))) for e in specs.values())
    ]
    return f" **Arms differ in {', '.join(differing)}: what is seen may be due to that.**" if differing else ""


def section(part: BaseModel) -> str:
    """Return a section of a spec in JSON."""
    return f"`{json.dumps(part.model_dump(mode='json', exclude_none=True))}`"


def data(spec: Experiment) -> str:
    """Say what was learned from, what was judged by, and whether they overlap."""
    train, test = spec.questions("train"), spec.held_out()
    shared = {q.text for q in train} & {q.text for q in test}
    how = "greedily" if spec.evaluate.greedy else "by sampling, as in training"
    learned, judged = (section(spec.data.train), section(spec.data.test)) if spec.data else ("(seeds)", "others")
    return (
        f"{len(train)} training questions {learned}, judged by {len(test)} of {judged}, answered {how}, "
        f"{len(shared)} questions in both"
    )


def credited(spec: Experiment) -> str:
    """Name credits and terms, each with what it says about itself and the tokens that it works on."""
    objectives = [stage.objective for stage in spec.stages]
    credits = [c for objective in objectives for credit in objective.credit for c in inside(credit, Credit)]
    docs = dict.fromkeys((c.type, first_line(c.__doc__).rstrip(".")) for c in credits)
    credit = [f"`{name}`{f' ({doc})' if doc else ''}" for name, doc in docs] or ["no credit"]
    terms = [
        f"`{t.type}`{' on ' + rows + ' tokens' if (rows := getattr(t, 'rows', '')) else ''}"
        for objective in objectives
        for t in objective.terms
    ]
    return f"{', '.join(credit)} in {', '.join(terms)}"


def needed(spec: Experiment) -> str:
    """Name the weights, hints and further rollouts that an arm asks for."""
    objectives = [stage.objective for stage in spec.stages]
    parts = [part for objective in objectives for part in (*objective.credit, *objective.terms)]
    hints = {hint.type for part in parts for hint in inside(part, Hint)}
    weights = {name for objective in objectives for name in objective.teachers - {"live"}}
    weights |= {"critic"} if any(objective.critic for objective in objectives) else set()
    needs = list(dict.fromkeys(c.asks for part in parts for c in inside(part, Credit) if c.asks))
    needs += [f"hint `{name}`" for name in sorted(hints)] + [f"{name} weights" for name in sorted(weights)]
    needs += [f"rollouts `{spec.train.rollouts.type}`"] * (spec.train.rollouts.type != "independent")
    return ", ".join(needs) or "nothing"


def inside(part: Component, family: type[M]) -> list[M]:
    """Return a component and those that it is made of, as far as they are of a family."""
    members = [part] if isinstance(part, family) else []
    return members + [c for _, value in part if isinstance(value, Component) for c in inside(value, family)]
