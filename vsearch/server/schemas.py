"""What the API takes and gives, as pydantic models: the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, UploadFile
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vsearch.duplicates.decisions import What
from vsearch.question import LARGEST_WEIGHT
from vsearch.records import Kind, Metric, Relation

MOST_PICTURES = 16
MOST_MATCHES = 10_000
FARTHEST = 100_000
ID = r"^[0-9]{1,40}$"
IdPath = Path(pattern=ID, description="The photo's id, opaque.")

PictureName = Annotated[
    str,
    Field(
        max_length=80,
        pattern=r"^([0-9]{1,40}|picture:[0-9a-f]{64})$",
        description="A photo's id, or the name that `POST /api/v1/pictures` gave.",
    ),
]
Weight = Annotated[float, Field(gt=0, le=LARGEST_WEIGHT)]
Pixels = Annotated[int, Field(ge=0, le=10**6)]


class Model(BaseModel):
    """Unknown members are refused, so that a misspelt option is not ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class QueryRequest(Model):
    """A question: one or more pictures, and what the answers must be like."""

    images: list[PictureName] = Field(default=[], max_length=MOST_PICTURES)
    minus: list[PictureName] = Field(
        default=[], max_length=MOST_PICTURES, description="Pictures that the answers must be unlike."
    )
    weights: list[Weight] | None = Field(
        default=None, max_length=MOST_PICTURES, description="One for each of images; equal by default."
    )
    minus_weights: list[Weight] | None = Field(
        default=None, max_length=MOST_PICTURES, description="One for each of minus."
    )
    text: str | None = Field(
        default=None, max_length=1000, description="Words to fit; needs an encoder with a text half."
    )
    text_weight: Weight = 1.0
    where: str | None = Field(
        default=None, max_length=4000, description="A filter: `taken >= 2024-05 and camera ~ canon`."
    )
    under: str | None = Field(default=None, max_length=4000, description="Only photos in this folder.")
    since: str | None = Field(default=None, max_length=40, description="Only photos taken then or later.")
    until: str | None = Field(default=None, max_length=40, description="Only photos taken then or before.")
    expand: bool = Field(default=True, description="Rank by neighbourhoods too.")
    min_match: float | None = Field(
        default=None, ge=0, le=1, description="Least probability to be related to the question."
    )
    crop: tuple[Pixels, Pixels, Pixels, Pixels] | Annotated[str, Field(max_length=80)] | None = Field(
        default=None,
        description="x, y, width, height of a region of the first picture, in its pixels; "
        'or as text, with `%` after each number: `"10%,10%,50%,50%"`.',
    )
    min_score: float | None = Field(default=None, ge=-1, le=1)
    k: int = Field(default=10, ge=1, le=MOST_MATCHES)
    offset: int = Field(
        default=0,
        ge=0,
        le=FARTHEST,
        description="How many of the best to leave out. Where `expand` ranks by neighbourhoods, the best "
        "`offset + k` change their order with their number above 200: to page on, ask for more from 0.",
    )


class QueryForm(Model):
    """A question with the pictures themselves."""

    image: list[UploadFile] = Field(default=[], max_length=MOST_PICTURES)
    minus: list[UploadFile] = Field(default=[], max_length=MOST_PICTURES)
    request: str = Field(default="{}", description="A QueryRequest as JSON; its pictures come first.")


class Match(Model):
    """One answer; `kind` is `identical` (same bytes), `variant` (same picture, altered) or `similar`."""

    rank: int
    path: str
    score: float
    kind: Kind
    id: str
    cosine: float
    match: float | None


class Matches(Model):
    """Answers, best first; `more` says whether there may be further ones behind `offset + k`."""

    matches: list[Match]
    more: bool


class Uploaded(Model):
    """A picture that can be asked for by name while the server keeps it."""

    picture: str
    width: int
    height: int
    format: str


class Facts(Model):
    """What the photo file says about itself."""

    width: int
    height: int
    format: str
    taken_at: str | None
    camera: str | None
    phash: str | None
    dhash: str | None


class Photo(Model):
    """One photo of the index."""

    id: str
    root: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str | None
    state: Literal["ready", "failed"]
    facts: Facts | None
    reason: str | None
    remedy: str | None


class Photos(Model):
    """A page of photos; `next` is the `after` of the page behind it."""

    photos: list[Photo]
    next: str | None


class Encoder(Model):
    """The index's encoder."""

    name: str
    input_size: int
    dimension: int
    parameters: int
    trained: bool
    licence: str
    fingerprint: str


class Status(Model):
    """What the index holds."""

    photos: int
    failed: int
    encoder: Encoder
    metric: Metric
    generation: int
    pending: int
    bytes: dict[str, int]
    roots: list[str]
    dead: dict[str, int]
    chroma_url: str | None
    exclude: list[str]


class PhotoMap(Model):
    """Photos by id, and where they are on the map: x and y in 0..1; the lists run in parallel."""

    ids: list[str]
    paths: list[str]
    x: list[float]
    y: list[float]


class Region(Model):
    """A part of a picture, as fractions of its width and height."""

    x: float
    y: float
    width: float
    height: float


class DuplicatePhoto(Model):
    """A photo of a duplicate group."""

    id: str
    path: str
    sha256: str
    width: int
    height: int
    bytes: int
    mtime_ns: int
    format: str
    taken_at: str | None
    sharpness: float | None


class DuplicateMember(Model):
    """A photo and how it is related to its group's representative."""

    photo: DuplicatePhoto
    kind: Relation
    hash_distance: int | None
    score: float
    seconds: float | None
    region: Region | None


class DuplicateGroup(Model):
    """Photos that are each related to one of them; `keep` is the id of the one that the rules would keep."""

    representative: DuplicatePhoto
    members: list[DuplicateMember]
    keep: str
    why: str


class Duplicates(Model):
    """A page of groups, of `total`."""

    groups: list[DuplicateGroup]
    total: int


class Decide(Model):
    """`not-duplicates` of two photos, or `keep` of one, by id."""

    what: What
    photos: list[Annotated[str, Field(pattern=ID)]] = Field(min_length=1, max_length=2)

    @model_validator(mode="after")
    def _as_many_as_needed(self) -> Decide:
        needed = 1 if self.what == "keep" else 2
        if len(self.photos) != needed:
            raise ValueError("keep is decided about one photo, not-duplicates about two")
        return self


class Decision(Model):
    """A decision, stored by what the files hold, so that it outlives moves."""

    id: str
    what: What
    sha256: list[str]
    paths: list[str]
    made_at: str


class Adding(Model):
    """How far the server's writer is; `busy`: another process writes to the index."""

    waiting: int
    busy: bool
    done: int
    total: int


class Progress(Model):
    """How far indexing is, here or in another process: `pending` changes are not published yet."""

    photos: int
    failed: int
    generation: int
    pending: int
    adding: Adding | None


class Server(Model):
    """What this server can do; `roots`: the photo folders that uploads may be added to."""

    version: str
    allow_add: bool
    text: bool
    max_upload_bytes: int
    max_megapixels: float
    cameras: dict[str, int]
    roots: list[str]
    adding: Adding | None


class Skipped(Model):
    """A photo that was left out."""

    path: str
    reason: str
    remedy: str


class Report(Model):
    """What an upload changed; `photos` has one entry for each uploaded file that is in the index now."""

    added: int
    updated: int
    moved: int
    removed: int
    unchanged: int
    skipped: list[Skipped]
    seconds: float
    photos: list[Photo]


class Health(Model):
    """The server answers and can read its index."""

    status: Literal["ok"]
    generation: int


class Login(Model):
    """The server's token."""

    token: str = Field(max_length=1024)


class Wrong(Model):
    """One part of a request that is wrong."""

    where: str
    message: str


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    errors: list[Wrong] = []
