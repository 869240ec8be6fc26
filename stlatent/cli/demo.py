"""The verb `stlatent demo`."""

from __future__ import annotations

from . import options as shared
from .options import MODEL, Options, Verb

HOST = "127.0.0.1"  # seen from this machine alone


def add_demo(verb: Verb) -> None:
    usual, help = ["video", "voxel"], f"{MODEL}; the first that reads a file takes it (video voxel)"
    verb.add_argument("models", nargs="*", default=usual, metavar="M", help=help)
    verb.add_argument("--port", type=shared.positive, metavar="N", help="on this machine (a free "
        "one from 7860 on)")  # fmt: skip
    verb.add_argument("--open", action="store_true", help="open it in the browser")
    shared.machine(verb)


def demo(options: Options) -> int:
    from ..demo.app import main

    main(
        tuple(options.models),
        shared.device_of(options),
        server_name=HOST,
        server_port=options.port,
        inbrowser=options.open,
    )
    return 0
