"""The tracks of a video: who they are, how they are doing, and when they go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .memories import ObjectMemory
from .policy import TrackingPolicy

NEVER = -1


@dataclass(slots=True, eq=False)
class TrackedObject:
    """One object of a video.

    Attributes:
        object_id: it keeps it through the video.
        prompt: the id of the prompt that found it.
        score: of the detection that found it.
        first_frame: in which it was found.
        memory: of its past frames.
        keep_alive: frames without a detection that it survives unhidden.
        unmatched: frames in which no detection confirmed it.
        last_hidden: the last frame in which it had no pixel, or `NEVER`; None before it was first propagated.
        last_seen: the last frame in which it had a pixel or a detection.
        presence: how certain the tracker is that it is in the frame, 0..1.
    """

    object_id: int
    prompt: int
    score: float
    first_frame: int
    memory: ObjectMemory
    keep_alive: int
    unmatched: int = 0
    last_hidden: int | None = None
    last_seen: int = 0
    presence: float = 0.0


@dataclass(slots=True, eq=False)
class Tracks:
    """The tracks there are, in the order in which they were found.

    Attributes:
        policy: by which they live.
        objects: the tracks.
        duplicates: (older, younger) -> frames in which both were matched by one detection.
        next_id: of the next object.
    """

    policy: TrackingPolicy
    objects: list[TrackedObject] = field(default_factory=list)
    duplicates: dict[tuple[int, int], int] = field(default_factory=dict)
    next_id: int = 0

    def start(self, prompt: int, score: float, frame: int, memory: ObjectMemory) -> TrackedObject:
        """Return a new track, which is not yet among `objects`."""
        track = TrackedObject(
            self.next_id, prompt, score, frame, memory, self.policy.initial_keep_alive, last_seen=frame, presence=score
        )
        self.next_id += 1
        return track

    def remove(self, object_ids: Iterable[int]) -> None:
        """Forget tracks and all that is known of them."""
        gone = set(object_ids)
        self.objects = [track for track in self.objects if track.object_id not in gone]
        self.duplicates = {pair: count for pair, count in self.duplicates.items() if not gone.intersection(pair)}

    def count_matches(self, matched: Sequence[Sequence[int]], unmatched: Sequence[int], empty: Sequence[int]) -> None:
        """Let the frame's association, in rows of `objects`, change how long each track is kept alive."""
        policy = self.policy
        for row in sorted({row for rows in matched for row in rows}):
            track = self.objects[row]
            track.keep_alive = min(policy.greatest_keep_alive, track.keep_alive + 1)
        for row in unmatched:
            self.objects[row].unmatched += 1
        for row in [*unmatched, *(() if policy.keep_alive_when_empty else empty)]:
            track = self.objects[row]
            track.keep_alive = max(policy.least_keep_alive, track.keep_alive - 1)

    def count_duplicates(self, matched: Sequence[Sequence[int]]) -> None:
        """Note which tracks share a detection in this frame; the older of them is taken to be the right one."""
        for rows in matched:
            if len(rows) < 2:
                continue
            oldest = min((self.objects[row] for row in rows), key=lambda track: track.first_frame)
            for row in rows:
                if self.objects[row] is not oldest:
                    pair = (oldest.object_id, self.objects[row].object_id)
                    self.duplicates[pair] = self.duplicates.get(pair, 0) + 1

    def wrong(self, frame: int) -> set[int]:
        """Return the ids of young tracks that were not confirmed, or stood beside an older one, too often."""
        young = {
            track.object_id: track for track in self.objects if track.first_frame > frame - self.policy.hotstart_delay
        }
        wrong = {
            id for id, track in young.items() if track.unmatched >= self.policy.hotstart_unmatched and track.unmatched
        }
        beside = {
            id for (_, id), count in self.duplicates.items() if id in young and count >= self.policy.hotstart_duplicates
        }
        self.duplicates = {pair: count for pair, count in self.duplicates.items() if pair[1] in young}
        return wrong | beside

    def worn_out(self) -> set[int]:
        """Return the ids of tracks that are hidden since no detection has confirmed them for too long."""
        if not self.policy.suppress_unmatched:
            return set()
        return {track.object_id for track in self.objects if track.unmatched and track.keep_alive <= 0}

    def expired(self, frame: int) -> set[int]:
        """Return the ids of tracks that have had neither pixel nor detection for too long."""
        after = self.policy.expire_after
        if after is None:
            return set()
        return {track.object_id for track in self.objects if frame - track.last_seen > after}
