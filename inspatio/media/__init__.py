"""Video in and out: probe a clip, read its frames in any order, write a new clip whole or not at all."""

from inspatio.media.reader import VideoReader
from inspatio.media.video_info import VIDEO_SUFFIXES, VideoInfo, list_videos, probe
from inspatio.media.writer import Quality, VideoWriter

__all__ = ["VIDEO_SUFFIXES", "Quality", "VideoInfo", "VideoReader", "VideoWriter", "list_videos", "probe"]
