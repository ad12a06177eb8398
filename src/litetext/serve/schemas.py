"""What requests hold and answers look like, as OpenAPI says it; nothing behind the border knows these classes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Schema(BaseModel):
    """What every schema has: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Refusal(Schema):
    """Why a request was refused."""

    code: str = Field(examples=["too_large"])
    message: str = Field(examples=["the image has 60.0 megapixels, the limit is 50 megapixels; scale it down first"])
    limit: float | None = Field(None, examples=[50])


class RefusedAnswer(Schema):
    """The answer to a request that was refused."""

    error: Refusal


class FoundPhrase(Schema):
    """One of the phrases that were asked."""

    phrase: str = Field(examples=["white dog"])
    presence: float = Field(description="Probability that it is in the image at all.", examples=[0.98])
    count: int = Field(description="Instances at or above the threshold.", examples=[1])


class FoundInstance(Schema):
    """One instance."""

    phrase: str = Field(examples=["white dog"])
    score: float = Field(examples=[0.91])
    box: list[float] = Field(description="x1, y1, x2, y2 in pixels.", examples=[[12.0, 30.5, 88.0, 120.0]])
    area: int = Field(description="Pixels of the mask.", examples=[5120])
    mask: dict[str, Any] | None = Field(
        None,
        description="COCO's compressed run lengths, column by column.",
        examples=[{"size": [200, 300], "counts": "Xm12L4M3"}],
    )
    polygons: list[list[list[float]]] | None = Field(
        None, description="An outline of x, y for each part.", examples=[[[[12, 30], [88, 30], [88, 120]]]]
    )


class SegmentAnswer(Schema):
    """What was found in an image."""

    model: str = Field(examples=["mini"])
    image: str = Field(description="The name of the file that was sent.", examples=["street.jpg"])
    width: int = Field(examples=[300])
    height: int = Field(examples=[200])
    cached: bool = Field(description="Whether the image's features were kept from an earlier request.")
    milliseconds: float = Field(description="From the whole request's arrival to its answer.", examples=[41.5])
    phrases: list[FoundPhrase]
    instances: list[FoundInstance] = Field(description="By phrase, then by falling score.")


class EmbedRequest(Schema):
    """Phrases to embed."""

    phrases: list[str] = Field(min_length=1, examples=[["white dog", "red car"]])
    model: str | None = Field(None, description="By default the server's first.", examples=["mini"])


class Embedded(Schema):
    """The features of one phrase."""

    phrase: str = Field(examples=["white dog"])
    tokens: list[list[float]] = Field(description="[T, D], without padding.", examples=[[[0.1, -0.2]]])


class EmbedAnswer(Schema):
    """The features of phrases, as the detector reads them."""

    model: str = Field(examples=["mini"])
    dim: int = Field(description="D, the numbers a token.", examples=[64])
    features: list[Embedded]


class ServedModel(Schema):
    """A model that the server has loaded."""

    name: str = Field(examples=["mini"])
    dim: int = Field(description="Numbers a text token.", examples=[64])
    takes_boxes: bool = Field(description="Whether it can be shown example boxes.")
    backend: str = Field(examples=["OnnxBackend"])
    text: str = Field(examples=["OnnxTextEncoder"])
    text_parameters: int | None = Field(None, description="Of its text encoder, where known.", examples=[463872])


class ModelsAnswer(Schema):
    """The models that requests may name, and the limits of requests."""

    models: list[ServedModel]
    default: str = Field(examples=["mini"])
    limits: dict[str, float]
    success: Literal[True] = True
    data: dict[str, Any] = Field(description="The same models as X-AnyLabeling reads them.")


class KeptConcept(Schema):
    """A concept that the server keeps."""

    name: str = Field(examples=["widget"])
    kind: Literal["phrase", "example"]
    threshold: float | None = Field(None, examples=[0.6])


class ConceptsAnswer(Schema):
    """The concepts that the server keeps."""

    concepts: list[KeptConcept]


class JobAnswer(Schema):
    """A video that is tracked."""

    id: str = Field(examples=["18bc0f5e2a7d9c01a4f0c2d9e8b7a6f5"])
    name: str = Field(description="The name of the file that was sent.", examples=["clip.mp4"])
    model: str = Field(examples=["mini"])
    phrases: list[str] = Field(examples=[["dog"]])
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    frames: int = Field(description="Frames that are done.", examples=[48])
    total: int | None = Field(None, description="Frames in all, where that is known.", examples=[240])
    error: str | None = Field(None, description="Why it failed.")


class JobsAnswer(Schema):
    """The videos that are tracked, the oldest first."""

    jobs: list[JobAnswer]


class ObjectRow(Schema):
    """An object of a video."""

    number: int = Field(examples=[1])
    prompt: str = Field(examples=["dog"])
    score: float = Field(examples=[0.87])
    frames: int = Field(description="In which it is seen.", examples=[40])
    first: float = Field(description="Seconds.", examples=[0.5])
    last: float = Field(description="Seconds.", examples=[3.2])


class TracksAnswer(Schema):
    """What was found in a video."""

    video: str = Field(examples=["clip.mp4"])
    width: int = Field(examples=[640])
    height: int = Field(examples=[480])
    frames: int = Field(examples=[240])
    start: float = Field(description="Seconds.", examples=[0.0])
    end: float = Field(description="Seconds.", examples=[9.96])
    damage: str | None = Field(None, description="What was wrong with the video, if something was.")
    objects: list[ObjectRow]


class AuditRequest(Schema):
    """Phrases to study."""

    phrases: list[str] = Field(min_length=1, examples=[["white dog", "red car", "the dog"]])


class AuditAnswer(Schema):
    """Where the report of an audit is; the latest ones are kept."""

    report: str = Field(examples=["v1/audit/1f0c9b2a"])


class HealthAnswer(Schema):
    """Whether the server is there."""

    status: Literal["ok"]


class ToolHealthAnswer(Schema):
    """What annotation tools ask before they connect."""

    status: Literal["UP"]
    model_class: str
    models_loaded: int
