"""Python client of Agon's REST API.

>>> from service.client import Client
>>> client = Client()                       # AGON_URL and AGON_TOKEN, or the stack that `agon up` started here
>>> job = client.submit(recipe="dcgan-digits", set={"train.images": 50_000})
>>> str(client.wait(job.id, on_event=print).state)
'succeeded'

Every method of `Client` is one call of the API; `events`, `wait` and `every_job` combine calls. Errors: `service.client.errors`.
"""

from service.bodies.audit import AuditEntry
from service.bodies.base import Page
from service.bodies.checkpoints import Checkpoint, CheckpointFile
from service.bodies.cluster import Cluster
from service.bodies.curves import Curve, Curves, Stretch
from service.bodies.datasets import Dataset, DatasetCheck
from service.bodies.disk import Collected, Disk, Garbage
from service.bodies.forks import Fork, Lineage, Relative
from service.bodies.jobs import Job, Recipe, RecipeSummary
from service.bodies.logs import LogFile, LogLine
from service.bodies.models import Model, ModelVersion
from service.bodies.owners import Caps, Owner, Share, Use
from service.bodies.runs import TERMINAL, Failure, JobModel, Progress, Run
from service.bodies.samples import SampleGrid, Tiles
from service.bodies.searches import Search, Trial, TrialDetail
from service.bodies.serving import Served, ServedState, Serving
from service.bodies.tokens import NewToken, Token, Who
from service.bodies.usage import Account, Accounts, Prices
from service.bodies.webhooks import Delivery, DeliveryDetail, NewWebhook, Replayed, Webhook
from service.client.calls import Client
from service.client.errors import (
    ApiError,
    BadRequest,
    Changed,
    ClientError,
    Conflict,
    Forbidden,
    Invalid,
    JobFailed,
    NotConfigured,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unreachable,
    UnreadableReply,
)
from service.client.logs import LogPiece, LogText
from service.client.serving import Answer
from service.client.stream import Event, RunEvent
from trainer.search import TrialClone, TrialResult

__all__ = [
    "TERMINAL",
    "Account",
    "Accounts",
    "Answer",
    "ApiError",
    "AuditEntry",
    "BadRequest",
    "Caps",
    "Changed",
    "Checkpoint",
    "CheckpointFile",
    "Client",
    "ClientError",
    "Cluster",
    "Collected",
    "Conflict",
    "Curve",
    "Curves",
    "Dataset",
    "DatasetCheck",
    "Delivery",
    "DeliveryDetail",
    "Disk",
    "Event",
    "Failure",
    "Forbidden",
    "Fork",
    "Garbage",
    "Invalid",
    "Job",
    "JobFailed",
    "JobModel",
    "Lineage",
    "LogFile",
    "LogLine",
    "LogPiece",
    "LogText",
    "Model",
    "ModelVersion",
    "NewToken",
    "NewWebhook",
    "NotConfigured",
    "NotFound",
    "Owner",
    "Page",
    "Prices",
    "Progress",
    "Recipe",
    "RecipeSummary",
    "Relative",
    "Replayed",
    "Run",
    "RunEvent",
    "SampleGrid",
    "Search",
    "Served",
    "ServedState",
    "Serving",
    "Share",
    "Stretch",
    "Tiles",
    "Token",
    "TooLarge",
    "Trial",
    "TrialClone",
    "TrialDetail",
    "TrialResult",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "UnreadableReply",
    "Use",
    "Webhook",
    "Who",
]
