"""Where scenes of a video begin."""

from __future__ import annotations

import av
import numpy as np

from .readers import VideoReader

SCORE = 0.3  # of FFmpeg's scene score, 0 to 1: what its manual suggests as the least
SIDE = 128  # pixels; the score needs no more
CHUNK = 16  # frames in memory


def scene_starts(reader: VideoReader) -> list[int]:
    """The frames, from 0 on, at which FFmpeg's filter `select` sees a new scene.

    It decodes the whole video, in memory that does not grow.
    """
    step = max(1, min(reader.size) // SIDE)
    height, width = (-(-side // step) for side in reader.size)
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base="1/1")
    select, sink = graph.add("select", f"gt(scene,{SCORE})"), graph.add("buffersink")
    source.link_to(select)
    select.link_to(sink)
    graph.configure()
    starts = [0]
    for first in range(0, reader.frames, CHUNK):
        frames = reader.read(range(first, min(first + CHUNK, reader.frames)))
        for i, pixels in enumerate(np.ascontiguousarray(frames[:, ::step, ::step])):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = first + i
            source.push(frame)
            try:
                starts.append(sink.pull().pts)
            except BlockingIOError:  # not selected
                continue
    return starts
