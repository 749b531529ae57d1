"""The demo's report: pictures first, then the grid, the curve, the numbers, the commands."""

from __future__ import annotations

from pathlib import Path

from lib_lora.demo import settings as use
from lib_lora.demo.story import Story
from lib_lora.demo.words import words_in
from lib_lora.process import command
from lib_lora.report import write_report
from lib_lora.report.sections import (
    BlockBars,
    Commands,
    Curve,
    Goal,
    Goals,
    Grid,
    PictureRow,
    Pictures,
    Report,
    Series,
    Table,
)


def write_page(story: Story, language: str) -> Path:
    """Write ``report.html`` into the demo's folder and return its path."""
    words = words_in(language)
    goals = goals_of(story, words)
    sections = (
        _pictures(story, words),
        _baked(story, words),
        Grid(words["grid"], words["grid_text"], story.files["grid"]),
        BlockBars(words["bars"], words["bars_text"], {n.block: 100 * n.relative for n in story.norms}),
        _curve(story, words),
        Goals(words["goals"], goals),
        _files(story, words),
        _compression(story, words),
        Commands(words["commands"], words["commands_text"], commands(story)),
    )
    report = Report(words["title"], verdict(story, words, goals), language, sections)
    return write_report(report, story.folder / "report.html")


def verdict(story: Story, words: dict[str, str], goals: tuple[Goal, ...]) -> str:
    """Return the result in a sentence."""
    good = all(goal.reached for goal in goals)
    return words["verdict_good" if good else "verdict_bad"].format(
        seconds=story.numbers["seconds"],
        pictures=int(story.numbers["pictures"]),
        gain=100 * (1 - story.numbers["subject_loss_ratio"]),
        drift=100 * (story.numbers["drift_ratio"] - 1),
    )


def goals_of(story: Story, words: dict[str, str]) -> tuple[Goal, ...]:
    """Return the numbers that the demo must reach."""
    n = story.numbers

    def goal(name: str, value: float, limit: float, text: str) -> Goal:
        return Goal(words[name], text, words["at_most"].format(value=f"{limit:g}"), value <= limit)

    return (
        goal("goal_subject", n["subject_loss_ratio"], use.SUBJECT_GOAL, f"{n['subject_loss_ratio']:.3f}"),
        goal("goal_drift", n["drift_ratio"], use.DRIFT_GOAL, f"{n['drift_ratio']:.3f}"),
        goal("goal_bake", n["bake_max_abs_diff"], use.BAKE_GOAL, f"{n['bake_max_abs_diff']:.1e}"),
        goal("goal_noise", n["noise_floor"], 0.1, f"{n['noise_floor']:.3f}"),
        goal("goal_small", n["bytes_small"] / n["bytes_lora"], 1.0, f"{n['bytes_small'] / n['bytes_lora']:.2f}"),
    )


def _pictures(story: Story, words: dict[str, str]) -> Pictures:
    columns = (words["without"], words["with"], words["blocks"].format(preset=use.PRESET))
    rows = []
    for name, prompt in use.PROMPTS:
        for number in range(story.size.seeds):
            cells = tuple(story.pictures[f"{name}-{number + 1}", variant] for variant in ("without", "with", "blocks"))
            label = words[name] + (f" · seed {use.SEEDS[number]}" if story.size.seeds > 1 else "")
            rows.append(PictureRow(label, cells, (prompt, "", "")))
    return Pictures(words["pictures"], words["pictures_text"], columns, tuple(rows))


def _baked(story: Story, words: dict[str, str]) -> Pictures:
    cells = (story.pictures["baked", "live"], story.pictures["baked", "baked"])
    text = words["baked_text"].format(preset=use.PRESET, levels=story.numbers["bake_picture_levels"])
    row = PictureRow(words["front"], cells)
    return Pictures(words["baked"], text, (words["live"], words["in_file"]), (row,))


def _curve(story: Story, words: dict[str, str]) -> Curve:
    losses = [loss for _, loss in story.losses]
    means = [(step, sum(losses[max(0, n - 49) : n + 1]) / min(n + 1, 50)) for n, (step, _) in enumerate(story.losses)]
    series = (Series(words["loss_step"], tuple(story.losses)), Series(words["loss_mean"], tuple(means)))
    return Curve(words["loss"], words["loss_text"], series, words["step"], words["error"])


def _files(story: Story, words: dict[str, str]) -> Table:
    rows = []
    for name, what in (("lora", "lora"), ("baked", "baked_file"), ("small", "small")):
        path = story.files[name]
        shown = path.relative_to(story.folder).as_posix()
        rows.append((shown, words[what].format(preset=use.PRESET), f"{path.stat().st_size / 1e6:.2f} MB"))
    return Table(words["files"], words["files_text"], (words["file"], words["what"], words["size"]), tuple(rows))


def _compression(story: Story, words: dict[str, str]) -> Table:
    headers = (words["block"], words["rank"], words["kept"], words["rel_error"])
    rows = tuple(
        (row.block, f"{row.rank_before} → {row.rank_after}", f"{row.energy_kept:.2%}", f"{row.relative_error:.3f}")
        for row in (story.compression.rows if story.compression else ())
    )
    return Table(words["energy"], words["energy_text"], headers, rows)


def commands(story: Story) -> tuple[str, ...]:
    """Return the commands that repeat the demo one by one; of an absolute folder only its name: people hand it on."""
    out, size = story.folder.name if story.folder.is_absolute() else story.folder.as_posix(), story.size
    program = command()
    lora = f"{out}/{story.files['lora'].relative_to(story.folder).as_posix()}"
    prompt = f"{use.PROMPTS[0][1]} <lora:{use.NAME}:1"
    where = f"--seed {use.SEEDS[0]} --cfg {use.CFG:g} --steps {size.sampling_steps} --lora-dir {out}/run"
    return (
        f'{program} tag {out}/pictures --trigger {use.TRIGGER} --backgrounds "{use.BACKGROUND}"',
        f"{program} train {out}/run/options.json --runs {out}/again",
        f'{program} generate --prompt "{prompt}:{use.PRESET}>" {where} --out {out}/face.png',
        f'{program} analyze --prompt "{prompt}:XYZ>" {where} --range 0,1 --blocks 26ALL --out {out}/analysis',
        f"{program} bake {lora} --weights {use.PRESET} --out {out}/baked.safetensors",
        f"{program} compress {lora} --energy 0.99 --out {out}/small.safetensors",
        f'{program} label {out}/small.safetensors --set title="krnk" trigger_words={use.TRIGGER} '
        f"--out {out}/labeled.safetensors",
        f"{program} inspect {out}/labeled.safetensors",
    )
