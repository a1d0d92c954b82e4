"""Start the page: `python app.py [--host 127.0.0.1] [--port 7860] [--profile laptop] [--results DIR]`.

`--fetch` fetches the profile's models and ends. `--interleaved DIR` puts another checkpoint on the interleaved tab.
Works as a Hugging Face Space as it stands. Models load after the page is up, never before.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboard.machine import take_upload_folder, without_proxies

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
if no_folder := take_upload_folder():
    sys.exit(no_folder)
with without_proxies():  # it makes a client when it is imported, which fails on a proxy that it does not know
    import gradio as _  # noqa: F401

from dashboard.layout import build_dashboard, launch_options
from dashboard.preparing import fetch_only, prepare, take_profile
from dashboard.security import close_doors
from dashboard.tables import use_results
from dashboard.unit_model import use_unit_model

close_doors()
demo = build_dashboard()


def main(arguments: Sequence[str] | None = None) -> None:
    """Launch the page and wait.

    Args:
        arguments: of the command line; None takes the process's own.
    """
    parser = argparse.ArgumentParser(description="Cascade Lens, in the browser.")
    parser.add_argument("--host", default=None, help="address to listen on; a Space sets its own")
    parser.add_argument("--port", type=int, default=None, help="port; the first free one from 7860")
    parser.add_argument(
        "--profile",
        help="laptop (the default; fetches 0.3 GB), mini (ships), small, paper, or a YAML file of your own",
    )
    parser.add_argument("--fetch", action="store_true", help="fetch the profile's models and end")
    parser.add_argument("--results", type=Path, help="a folder of `python -m precompute`, as the own run")
    parser.add_argument(
        "--memory-gib", type=float, help="memory that models may take together; what is free by default"
    )
    parser.add_argument(
        "--interleaved", type=Path, help="a checkpoint in place of mini-interleaved, such as a control"
    )
    chosen = parser.parse_args(arguments)
    trouble = (
        use_results(chosen.results)
        or take_profile(chosen.profile, chosen.memory_gib)
        or use_unit_model(chosen.interleaved)
    )
    if trouble:
        parser.error(trouble)
    if chosen.fetch:
        sys.exit(fetch_only())
    try:
        with without_proxies():
            demo.launch(
                server_name=chosen.host, server_port=chosen.port, prevent_thread_lock=True, **launch_options()
            )
    except OSError:
        parser.error("the page cannot listen there; choose another --port or --host")
    prepare()
    demo.block_thread()


if __name__ == "__main__":
    main()
