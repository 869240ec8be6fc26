"""Samples of one sound file, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from ...files import UnreadableError
from ..video.timeline import open_video, reason

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff")
LAYOUTS = {1: "mono", 2: "stereo"}
EXACT = ("wav", "flac", "aiff")  # containers that say how long they are, and do not estimate it
LEAD_SECONDS = 0.5  # decoded before what is sought: decoders have to settle


def read_sound(
    path: str | Path, rate: int, channels: int, start_seconds: float = 0.0
) -> Iterator[np.ndarray]:
    """A file from some time on, piece by piece, float32 `[channels, n]` in [-1, 1].

    Files of another rate are resampled by FFmpeg, as are more than two channels mixed to two.

    Args:
        rate: samples per second.
        channels: 1 or 2.
        start_seconds: sought by the file's timestamps; where they mislead, a little beside.

    Raises:
        UnreadableError: it holds no sound, is damaged or cut off, or holds values that are not
            finite.
    """
    path = Path(path)
    try:
        with open_video(path) as container:
            stream = _sound_stream(container, path)
            seconds = _stated_seconds(container, stream)
            own = LAYOUTS.get(stream.codec_context.channels, "stereo")
            resampler = av.AudioResampler(format="fltp", layout=own, rate=rate)
            drop, count = 0, 0
            if start_seconds > LEAD_SECONDS:
                container.seek(round((start_seconds - LEAD_SECONDS) * av.time_base))
            for number, frame in enumerate(container.decode(stream)):
                if number == 0 and start_seconds:
                    drop = round(max(0.0, start_seconds - (frame.time or 0.0)) * rate)
                count += frame.samples
                for samples in _resampled(resampler, frame, channels, path):
                    if samples.shape[1] > drop:
                        yield samples[:, drop:]
                    drop = max(0, drop - samples.shape[1])
            for samples in _resampled(resampler, None, channels, path):
                yield samples[:, drop:]
            heard = count / stream.codec_context.sample_rate
            if not start_seconds and seconds is not None and heard < seconds - 0.01:
                held = f"it is cut off: {heard:.2f} of {seconds:.2f} s are there"
                raise UnreadableError(path, held)
    except UnreadableError:
        raise
    except (av.FFmpegError, EOFError, OSError, ValueError) as error:
        raise UnreadableError(path, reason(error)) from None


def read_samples(
    path: str | Path, rate: int, channels: int, count: int, start_seconds: float = 0.0
) -> np.ndarray:
    """At most `count` samples from some time on, `[channels, n]`; see `read_sound`."""
    pieces, have = [np.empty((channels, 0), np.float32)], 0
    for samples in read_sound(path, rate, channels, start_seconds):
        pieces.append(samples)
        have += samples.shape[1]
        if have >= count:
            break
    return np.concatenate(pieces, 1)[:, :count]


def sound_seconds(path: str | Path) -> float:
    """How long a file is, as it says or as it is estimated; 0 where that is not known.

    Raises:
        UnreadableError: it holds no sound.
    """
    path = Path(path)
    try:
        with open_video(path) as container:
            stream = _sound_stream(container, path)
            next(container.decode(stream))
            if stream.duration is not None:
                return float(stream.duration * stream.time_base)
            return (container.duration or 0) / av.time_base
    except (av.FFmpegError, EOFError, OSError, StopIteration) as error:
        raise UnreadableError(path, reason(error)) from None


def _sound_stream(container: av.container.InputContainer, path: Path) -> av.AudioStream:
    stream = next(iter(container.streams.audio), None)
    if stream is None or stream.codec_context is None:
        raise UnreadableError(path, "it holds no sound that FFmpeg can decode")
    return stream


def _stated_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """How long the file says that it is, where that can be relied upon."""
    if container.format.name not in EXACT or stream.duration is None:
        return None
    return float(stream.duration * stream.time_base)


def _resampled(
    resampler: av.AudioResampler, frame: av.AudioFrame | None, channels: int, path: Path
) -> Iterator[np.ndarray]:
    """What FFmpeg makes of a frame, or what it still has; of stereo the mean is mono."""
    for found in resampler.resample(frame):
        samples = found.to_ndarray()
        if len(samples) != channels:
            samples = samples.mean(0, keepdims=True).repeat(channels, 0)
        if not np.isfinite(samples).all():
            raise UnreadableError(path, "it holds values that are not finite")
        yield samples.clip(-1, 1)
