"""Training, alone and as part of the whole loop."""

from __future__ import annotations

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


def train(config: Config, set: tuple[str, ...] = (), allow_change: tuple[str, ...] = ()) -> None:
    """Trains an adapter as a TOML file says; started again, it goes on where it stopped.

    Writes checkpoint/, log.jsonl, config.json and state.pt into the folder that the config's `out` names.

    Args:
        config: TOML file; see egs/ for examples.
        set: Changes to the config, each KEY=VALUE with VALUE as in TOML: --set stages.0.steps=100 seed=1
        allow_change: Keys of the config that may differ from those the run began with: --allow-change stages.1.steps
    """
    from speechllm.config import TrainConfig, load_toml
    from speechllm.train.loop import train as run

    print(run(load_toml(config, TrainConfig, set), allow_change))
