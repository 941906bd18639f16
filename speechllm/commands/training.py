"""Training, alone and as part of the whole loop."""

from __future__ import annotations

import os
from pathlib import Path

from speechllm.commands.arguments import Config
from speechllm.config import QuickstartConfig

DEFAULTS = QuickstartConfig()


def quickstart(out: Path = Path("quickstart"), config: QuickstartConfig = DEFAULTS) -> None:
    """The whole loop on real models: fetch, make a corpus, generate targets, train, evaluate, report.

    Takes minutes on two CPU cores. It leaves a folder with the manifest, the targets, the adapter in checkpoint/,
    results.json and report.html. Run again after an interruption, it goes on training where it stopped.

    Args:
        out: Folder to write.
        config: Sizes of the run.
    """
    from speechllm.quickstart import quickstart as run

    run(out, config)
    print(f"\n{out / 'report.html'}: figures and clips to listen to")
    print(f'ask it yourself: speechllm chat {out / "checkpoint"} --audio FILE "Is the speaker male or female?"')


def train(config: Config, set: tuple[str, ...] = (), allow_change: tuple[str, ...] = (), find_lr: bool = False) -> None:
    """Trains an adapter as a TOML file says; started again, it goes on where it stopped.

    Writes checkpoint/, log.jsonl, config.json and state.pt into the folder that the config's `out` names.

    Args:
        config: TOML file; see egs/ for examples.
        set: Changes to the config, each KEY=VALUE with VALUE as in TOML: --set stages.0.steps=100 seed=1
        allow_change: Keys of the config that may differ from those the run began with: --allow-change stages.1.steps
        find_lr: Train nothing, but try rising learning rates on every stage; writes find_lr.jsonl and find_lr.png.
    """
    from speechllm.config import TrainConfig, load_toml
    from speechllm.train.find_rate import find_rates
    from speechllm.train.loop import load
    from speechllm.train.loop import train as run

    values = load_toml(config, TrainConfig, set)
    if not find_lr:
        out = run(values, allow_change)
        if int(os.environ.get("RANK", "0")) == 0:  # of several processes one speaks
            print(out)
        return
    for number, rate in find_rates(load(values)).items():
        print(f"stages.{number}.learning_rate = {rate:.1e}  # the loss falls fastest here")
