"""Video in and out: probe a video, read its frames in any order, write a new video whole or not at all."""

from inspatio.media.packet_index import FrameIndex
from inspatio.media.reader import VideoReader
from inspatio.media.video_info import VIDEO_SUFFIXES, VideoInfo, list_videos, probe
from inspatio.media.writer import Quality, VideoWriter

__all__ = [
    "VIDEO_SUFFIXES",
    "FrameIndex",
    "Quality",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "list_videos",
    "probe",
]
