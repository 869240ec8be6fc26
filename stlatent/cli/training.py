"""The verb `stlatent train`."""

from __future__ import annotations

from .options import Options, Verb


def add_train(verb: Verb) -> None:
    verb.instead = "; what a config says is given as key=value, such as out=runs/mine minutes=30"
    verb.add_argument("config", metavar="CONFIG", help="a YAML file, or a shipped config by name, "
        "such as video/base")  # fmt: skip
    verb.add_argument(
        "overrides", nargs="*", metavar="key.sub=value", help="in place of the file's"
    )
    verb.add_argument(
        "--dry-run",
        action="store_true",
        help="only print the resolved config, parameters, latent sizes and memory of one step",
    )


def train(options: Options) -> int:
    from ..model.config import read
    from ..shipped import locate_config

    config = locate_config(options.config)
    if "diffusion" in read(config):
        from ..diffusion.training import run
    else:
        from ..train import run

    run(config, options.overrides, options.dry_run)
    return 0
