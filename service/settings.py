"""Settings of the control plane, all from environment variables `AGON_…`; docs/operations.md lists them."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL

from trainer.access import Access, check_host
from trainer.data.fetch import Patience
from trainer.mirror.place import check_url
from trainer.nodes import NodeShape
from trainer.proxies import LOOPBACK

TAKEN_HEADERS = frozenset(
    {"authorization", "cookie", "host", "origin", "x-forwarded-for", "x-forwarded-proto", "x-request-id"}
)
"""Headers that can't say who asks."""


def sqlite_url(path: Path) -> str:
    """URL of the SQLite database in that file, whatever characters the path has."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


class Settings(BaseSettings):
    """What one API process (or a reconciler that runs apart) needs to know. Paths derive from `home` unless given."""

    model_config = SettingsConfigDict(env_prefix="AGON_", env_ignore_empty=True, frozen=True)

    home: Path = Path("~/.agon")
    database_url: str = Field(default="", repr=False)
    """SQLAlchemy URL: `sqlite:///…` or `postgresql://…`. Default: `agon.db` in `home`."""
    jobs_root: Path = Path()
    """Folder of the jobs' folders, on storage that the API and all nodes share."""
    cache_dir: Path = Path()
    """Shared folder for feature extractors and reference statistics."""
    mirror: str = ""
    """Where a second copy of the jobs' folders is kept: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, or a folder. "": nowhere."""
    shard_cache_dir: Path | None = None
    """Folder of each node's own disk for shards that come from afar. None: in `cache_dir`."""
    data_roots: Annotated[tuple[str, ...], NoDecode] = ()
    """Local folders that datasets may lie in, separated by `:`. Default: `data` in `home`."""
    private_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts, addresses and networks off the public internet that data may be read from over http(s), separated by commas; `*`:
    any. Local services answer whoever can reach them, so none is asked for a user unless it is named."""
    data_seconds: float = Field(default=10.0, gt=0)
    """Limit of reading one `dataset.json` for a request, further attempts included."""
    ray_address: str = "http://127.0.0.1:8265"
    """URL of the Ray dashboard."""
    ray_token_file: Path = Path()
    """Token of the Ray cluster; a file that doesn't exist means that the cluster asks for none."""
    ray_jobs: Literal["cluster", "rayjob"] = "cluster"
    """Where runs train: on the one Ray cluster, or each attempt in a RayJob of KubeRay's with a cluster of its own."""
    rayjob_pattern: str = Field(default="agon-ray", pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
    """The RayCluster, in the API's namespace, after which these clusters are made."""
    rayjob_queue: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?$")
    """Kueue's LocalQueue that admits them. "": no Kueue."""
    rayjob_keep_seconds: float = Field(default=300.0, ge=0, le=1e6)
    """So long after its end an attempt's RayJob and cluster are there."""
    kubernetes_url: str = "https://kubernetes.default.svc"
    """The API server of Kubernetes."""
    mlflow_uri: str | None = None
    """Tracking and registry URI; None: jobs aren't tracked and nothing can be published."""
    mlflow_experiment: str = "agon"
    api_url: str = "http://127.0.0.1:8700"
    """This API as the workers reach it."""
    token_file: Path = Path()
    """The administrator's token; created with mode 0600 if it is missing."""
    token_days: float | None = Field(default=None, gt=0, le=36_500)
    """Longest life of a token that people make, which they get unless they ask for less. None: as they ask, or for good."""
    session_hours: float = Field(default=12.0, gt=0, le=8760)
    """Longest life of a browser session; it ends with its token."""
    sso_header: str = Field(default="", pattern=r"^([A-Za-z0-9-]{1,64})?$")
    """Header in which a proxy that has signed people on says who asks: `X-Forwarded-User`. "": none does."""
    sso_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses and networks of these proxies, separated by commas: from others the header says nothing."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Host names that requests may be addressed to, separated by commas; `*`: any. Default: loopback and `api_url`'s host."""
    driver_python: str = sys.executable
    """Python interpreter on the Ray nodes that has the trainer installed."""
    plan_seconds: float = Field(default=120.0, gt=0)
    """Limit of the process that makes a plan, here or on the cluster."""
    preflight_seconds: float = Field(default=5.0, ge=0)
    """How long a submission may wait to hear whether the job can fit; then it is taken, and the driver checks it. 0: not at all."""
    serve: bool = True
    """Whether published models may be asked over HTTP, on Ray Serve, and plans be made there."""
    serve_url: str = "http://127.0.0.1:8702"
    """Ray Serve's proxy as the API reaches it; on a loopback address it listens there alone."""
    serve_cpus: float = Field(default=1.0, ge=0, le=1024)
    """CPUs of a replica."""
    serve_gpus: float = Field(default=0.0, ge=0, le=64)
    """GPUs of a replica of models; a part of one is possible: 0.5."""
    serve_replicas: int = Field(default=1, ge=1, le=1000)
    """Replicas of models, at most; as many as there is room for."""
    serve_memory: int = Field(default=2 << 30, ge=1 << 20)
    """Bytes of weights that a replica keeps."""
    serve_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What nets compute in."""
    serve_seconds: float = Field(default=60.0, gt=0, le=3600)
    """Limit of one answer."""
    serve_waiting: int = Field(default=64, ge=1, le=10_000)
    """Questions that one replica takes at a time, and that one API process has under way."""
    serve_start_seconds: float = Field(default=30.0, ge=0, le=600)
    """How long a question waits while a replica starts; then it is answered with 503 and the reason."""
    serve_idle_seconds: float = Field(default=300.0, ge=1, le=1e6)
    """Without questions for so long replicas end, and their place is free."""
    serve_gone_seconds: float = Field(default=3600.0, ge=1, le=1e7)
    """Without questions for so long Ray Serve itself ends."""
    reconciler: bool = True
    """Whether this process runs the reconciler; switch off if `python -m service.reconciler` runs apart."""
    max_nodes: Annotated[tuple[NodeShape, ...], NoDecode] = ()
    """Nodes to which an autoscaler may make the Ray cluster grow, those that are there included: `4:16,gpu-8=2:64:8:512:H100` are four of
    16 CPUs, and two of 64 CPUs, 8 GPUs of the kind H100 and 512 GiB, whose group Ray calls gpu-8. Default: the cluster stays as it is."""
    nodes_seconds: float = Field(default=900.0, gt=0, le=1e7)
    """A run that waits for such nodes for longer keeps none of what is free from others, and no other is handed over to wait for them."""
    driver_memory: int = Field(default=600 << 20, ge=0)
    """Bytes that a run's driver takes on Ray's head, beside that of the others: who finds no room there waits. 0: that isn't counted."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Port on which a reconciler that runs apart answers Prometheus with what it counts; the API has `/metrics`. None: on none."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """How often the reconciler looks at what nobody woke it for."""
    lease_seconds: float = Field(default=30.0, gt=1)
    """How long a reconciler owns a job; must exceed the longest call to Ray."""
    stop_grace_seconds: float = Field(default=60.0, ge=0)
    """How long a cancelled job may take to checkpoint and end by itself before Ray stops it."""
    keep_last: int = Field(default=1, ge=1)
    """Newest checkpoints that `POST /v1/gc` leaves a run that has ended; never more than its spec says."""
    keep_best: int | None = Field(default=None, ge=0)
    """The same of its best ones. None: as its spec says."""
    keep_every_images: int | None = Field(default=None, ge=1)
    """The same of one of every so many images; never more often than its spec says. None: as that says."""
    keep_days: float | None = Field(default=None, ge=0)
    """After so many days from its end a run keeps no checkpoint but pinned ones and, if it registered a version, its newest.
    None: age ends none."""
    fair_share_hours: float = Field(default=24.0, ge=0, le=1000)
    """A run counts in the queue as submitted by less than so many hours later, the more its owner used of late and has in hand.
    0: as it was submitted."""
    price_cpu_hour: float | None = Field(default=None, ge=0)
    """What an hour of a worker's CPU costs, for `GET /v1/usage`. None, of both: no costs are told."""
    price_gpu_hour: float | None = Field(default=None, ge=0)
    """The same of a GPU."""
    currency: str = Field(default="", max_length=8)
    """Of these prices: `EUR`."""
    idempotency_hours: float = Field(default=24.0, gt=0, le=24 * 366)
    """How long the answer to a request with an `Idempotency-Key` is kept. A job or a search keeps its key as long as it lives."""
    audit_days: float = Field(default=365.0, ge=0)
    """After so many days what was changed, and by whom, is forgotten. 0: never."""
    webhooks: bool = True
    """Whether this process sends the messages of webhooks."""
    webhooks_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts, addresses and networks off the public internet that webhooks may post to, also by http, separated by commas; `*`: any."""
    webhooks_http: bool = False
    """Whether webhooks may post by http, which anyone on the way can read, to public addresses too."""
    webhooks_keep_days: float = Field(default=30.0, ge=1, le=3650)
    """For so many days it is remembered what was sent by webhooks that has ended."""
    disk_low: float = Field(default=0.1, ge=0, lt=1)
    """Warn when less than this share of the disk is free that runs lie on; 0: never."""
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Largest request body."""
    log_level: str = "INFO"

    @field_validator("mirror")
    @classmethod
    def _a_place(cls, url: str) -> str:
        return check_url(url) if url else url

    @field_validator("max_nodes", mode="before")
    @classmethod
    def _shapes(cls, value: object) -> object:
        return (
            tuple(NodeShape.parse(part) for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("max_nodes")
    @classmethod
    def _each_once(cls, shapes: tuple[NodeShape, ...]) -> tuple[NodeShape, ...]:
        names = [shape.name or shape.title for shape in shapes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is there twice; give each name or size once, with the sum of the counts")
        return shapes

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @field_validator("allowed_hosts", "private_hosts", "sso_proxies", "webhooks_allow", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("private_hosts", "webhooks_allow")
    @classmethod
    def _hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_host(host) for host in hosts)

    @field_validator("sso_header")
    @classmethod
    def _no_header_of_ours(cls, name: str) -> str:
        if name.lower() in TAKEN_HEADERS:
            raise ValueError(f"{name} says something else; use one of its own, such as X-Forwarded-User")
        return name

    @field_validator("sso_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if ip_network(proxy, strict=False).prefixlen == 0:
                raise ValueError(f"{proxy} is everyone; name the proxies: 10.0.0.5,10.1.0.0/24")
        return proxies

    @model_validator(mode="after")
    def _sso_is_whole(self) -> Self:
        if bool(self.sso_header) != bool(self.sso_proxies):
            raise ValueError(
                "AGON_SSO_HEADER and AGON_SSO_PROXIES go together: without proxies that are trusted anyone could say who they are"
            )
        return self

    @field_validator("ray_address", "api_url", "serve_url")
    @classmethod
    def _http(cls, url: str) -> str:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is no http:// or https:// URL")
        return url.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _driver(cls, url: str) -> str:
        """`postgresql://` means psycopg 3, which is what is installed."""
        for prefix in ("postgresql://", "postgres://"):
            if url.startswith(prefix):
                return "postgresql+psycopg://" + url.removeprefix(prefix)
        return url

    def late(self, now: datetime) -> datetime | None:
        """Runs that wait for nodes since before that have waited for too long; None: no nodes are ever started."""
        return now - timedelta(seconds=self.nodes_seconds) if self.max_nodes else None

    @property
    def access(self) -> Access:
        """What paths and URLs in a request may lead to."""
        return Access(self.data_roots, self.private_hosts)

    @property
    def patience(self) -> Patience:
        """How long a request may wait for one file of somebody else's server."""
        return Patience(self.data_seconds, rate=None)

    @model_validator(mode="after")
    def _derive(self) -> Self:
        home = self.home.expanduser().absolute()
        derived: dict[str, object] = {
            "database_url": sqlite_url(home / "agon.db"),
            "jobs_root": home / "jobs",
            "cache_dir": home / "cache",
            "data_roots": (str(home / "data"),),
            "ray_token_file": home / "ray-token",
            "token_file": home / "token",
            "allowed_hosts": (*LOOPBACK, urlsplit(self.api_url).hostname or "localhost"),
        }
        values = {name: value for name, value in derived.items() if name not in self.model_fields_set}
        for name, value in {"home": home, **values}.items():
            object.__setattr__(self, name, value)
        return self
