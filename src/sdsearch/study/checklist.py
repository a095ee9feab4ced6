"""What a comparison of ways to assign credit has to say about itself, filled in from specs and records.

After the complaint of a survey (arXiv 2604.09459) that papers on credit assignment state neither compute nor variance,
nor what their baselines were given. The items and their wording are ours. What no program can know (for whom
hyper-parameters were tuned) the author of the study writes into `tuning`; left empty, that is said.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import sdsearch
from sdsearch.spec import Experiment
from sdsearch.store.origin import recorded
from sdsearch.study.arms import by_arm, credited, data, needed, section, unshared
from sdsearch.study.comparison import Comparison
from sdsearch.study.spec import Study

Item = tuple[str, str]


def checklist(found: Comparison) -> list[Item]:
    """Return the items: a name and what there is to say."""
    study, specs = found.study, {job.arm: job.experiment for job in found.jobs}
    reference = specs[study.reference]
    count = len(study.seeds)
    return [
        ("Model", by_arm(specs, lambda e: section(e.agent))),
        ("Data and splits", by_arm(specs, data)),
        ("Environment", by_arm(specs, lambda e: section(e.environment))),
        ("Seeds", f"{count} ({', '.join(map(str, study.seeds))}), the same for every arm: {SHARED}{unshared(specs)}"),
        ("What is matched", matched(found)),
        ("Evaluations", by_arm(specs, lambda e: evaluations(found, e))),
        ("Compute", compute(found)),
        ("Machine", machines(found)),
        ("What each arm credits", by_arm(specs, credited)),
        ("What it needs beyond rollouts and rewards", by_arm(specs, needed)),
        ("Baselines", baselines(study)),
        ("Variance", variance(found)),
        (
            "Selection",
            "None: the last weights are judged, not the best ones. All evaluations use the same test questions.",
        ),
        (
            "Hyper-parameters",
            f"{study.tuning or UNTOLD} Learning rate of the reference: {reference.train.learning_rate:g}.",
        ),
        ("Failures and outages", failures(found)),
        ("Version", versions(found)),
    ]


SHARED = "initial weights, order of questions and seeds of sampling depend on seed and step alone."
UNTOLD = (
    "Not stated (`tuning` of the study is empty): take it that they suit the experiment that they were chosen for, and "
    "that other arms might do better with others."
)


def evaluations(found: Comparison, spec: Experiment) -> str:
    """Say how often runs were judged: areas under curves of few points are not those under the same curve of many."""
    counts = {len(record.points) for record in found.arms[spec.name].values()}
    return f"{' or '.join(map(str, sorted(counts))) or 'none yet'} a run"


def matched(found: Comparison) -> str:
    """Say what is equal between arms, and how far apart they are in the rest."""
    (quantity, amount), arms = next(iter(found.study.budget.items())), found.arms
    said = [f"{quantity} ({amount:,} each; a run ends after the step that reaches it)"]
    for name in ("steps", "rollouts", "tokens", "seconds"):
        means = [found.mean(arm, lambda r, n=name: r.steps if n == "steps" else getattr(r.spent, n)) for arm in arms]  # type: ignore[misc]
        values = [e.value for e in means if e]
        if values and min(values) > 0:
            said.append(f"{name} {max(values) / min(values) - 1:.1%}")
    return f"{said[0]}. Between the arms that used least and most: {', '.join(said[1:]) or 'nothing has run yet'}."


def compute(found: Comparison) -> str:
    """Say what all runs together took."""
    records = list(found.every.values())
    hours = sum(r.spent.seconds for r in records) / 3600
    judged = sum(sum(line["seconds"].values()) for r in records for line in r.lines if "evaluate" in line) / 3600
    rollouts, tokens = (sum(getattr(r.spent, name) for r in records) for name in ("rollouts", "tokens"))
    return (
        f"{hours:.2f} h of training and {judged:.2f} h of evaluation in {sum(bool(r.lines) for r in records)} runs, "
        f"{found.study.workers} at once with {found.study.threads} thread(s) each; {rollouts:,.0f} rollouts, "
        f"{tokens:,.0f} sampled tokens. Runs at the same time slow each other down: compare seconds within a study."
    )


def baselines(study: Study) -> str:
    """Say what each arm changes in the experiment."""
    told = (f"*{arm}*: {f'`{json.dumps(over)}`' if over else 'as it is'}" for arm, over in study.arms.items())
    return f"The reference is *{study.reference}*. Changes to `{study.experiment}`: {'; '.join(told)}."


def variance(found: Comparison) -> str:
    """Say what the intervals hold and what they leave out."""
    judged = min(len(j.experiment.data.test.questions()[: j.experiment.evaluate.questions]) for j in found.jobs)
    reference = found.mean(found.study.reference, lambda r: r.final)
    own = f"{math.sqrt(reference.value * (1 - reference.value) / judged):.3f}" if reference else "unknown"
    seeds = "One seed: no interval, and no conclusion about which arm is better." if len(found.study.seeds) == 1 else ""
    text = (
        f"95 % percentile bootstrap over seeds, differences paired by seed. Not in them: the choice of {judged} "
        f"questions, whose standard error alone is {own} for the reference; other models and data."
    )
    return " ".join(filter(None, (seeds, text)))


def failures(found: Comparison) -> str:
    """Count what went wrong."""
    missing = sum(not r.done and r.job not in found.failed for r in found.every.values())
    asked = [line["retrieval"] for r in found.every.values() for line in r.lines if "retrieval" in line]
    outages, calls = (sum(a[name] for a in asked) for name in ("outages", "calls"))
    warned = listed(
        f"{w['limit']} in {r.job.name}" for r in found.every.values() for m in r.trained for w in m.get("warnings", ())
    )
    return (
        f"{len(found.failed)} runs failed, {missing} not run or not ended; {outages:.0f} outages in "
        f"{calls:.0f} retrievals (episodes that one ends are left out of all means); warnings: {warned}."
    )


def about(found: Comparison) -> list[dict[str, Any]]:
    """Return environment.json of each run that has one."""
    return [made for job in found.jobs if (made := recorded(job.experiment.folder))]


def machines(found: Comparison) -> str:
    """Name the systems on which the runs were begun."""
    systems = listed(f"{m.get('system', 'unknown')}, {m.get('cores', 'unknown')} cores" for m in about(found))
    return f"{systems}; device: {listed(str(getattr(j.experiment.agent, 'device', 'none')) for j in found.jobs)}."


def versions(found: Comparison) -> str:
    """Name versions and commits; more than one, of the package or of a component, is said aloud."""
    made = about(found)
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
