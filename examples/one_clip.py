"""One clip through the engine, without the page: `python -m examples.one_clip assets/examples/topic-1.flac topic`."""

import sys

from engine.audio import load_clip
from engine.lens import lens_text
from engine.request import RunRequest
from engine.run import run


def main(path: str, task: str = "topic", pair: str = "mini-ultravox") -> None:
    result = run(RunRequest(load_clip(path), task, pair))
    for lane in result.lanes:
        print(f'{lane.role}, {lane.name}: hears "{lane.heard}", answers "{lane.answer.text}"')
    print(result.agreement.sentence)
    if result.lens is not None:  # a service keeps its states to itself
        for layer, precision in zip(result.lens.layers, result.lens.precision, strict=True):
            print(f'layer {layer}, precision {precision:.2f}: "{lens_text(result.lens, layer)}"')


if __name__ == "__main__":
    main(*sys.argv[1:])
