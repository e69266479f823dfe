"""Images and sound, which are not built: what asks for them is refused, their parameters alone ask for nothing."""

from __future__ import annotations

from .row import Flag, Switch, ignored, refused
from .values import integer, number

_WHY = "images and sound are not understood yet"
_ALONE = f"{_WHY}, which it is a parameter of"

MEDIA: tuple[Flag, ...] = (
    refused("-mm --mmproj", _WHY, "FILE", env="LLAMA_ARG_MMPROJ"),
    refused("-mmu --mmproj-url", _WHY, "URL", env="LLAMA_ARG_MMPROJ_URL"),
    Switch(
        names=("--mmproj-auto",),
        off=("--no-mmproj", "--no-mmproj-auto"),
        target="source.wants_mmproj",
        env="LLAMA_ARG_MMPROJ_AUTO",
        help="say so where the repository of -hf has a projector for images, which is not understood yet (default: {})",
    ),
    ignored("--mmproj-offload", _ALONE, env="LLAMA_ARG_MMPROJ_OFFLOAD", off="--no-mmproj-offload", harmless=("on",)),
    ignored("-mmdev --mmproj-device", _ALONE, "DEVICE", env="MTMD_BACKEND_DEVICE"),
    ignored("--image-min-tokens", _ALONE, "N", env="LLAMA_ARG_IMAGE_MIN_TOKENS", parse=integer(-1)),
    ignored("--image-max-tokens", _ALONE, "N", env="LLAMA_ARG_IMAGE_MAX_TOKENS", parse=integer(-1)),
    ignored("--mtmd-batch-max-tokens", _ALONE, "N", env="LLAMA_ARG_MTMD_BATCH_MAX_TOKENS", parse=integer(0)),
    ignored("--video-fps", _ALONE, "N", env="LLAMA_ARG_VIDEO_FPS", parse=number(0)),
    ignored("--video-timestamp-interval", _ALONE, "N", env="LLAMA_ARG_VIDEO_TIMESTAMP_INTERVAL", parse=integer(0)),
    ignored("--video-ffmpeg-dir", _ALONE, "DIR", env="LLAMA_ARG_VIDEO_FFMPEG_DIR"),
    refused("--media-path", _WHY, "PATH"),
)
