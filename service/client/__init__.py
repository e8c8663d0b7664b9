"""Python client of Agon's REST API.

>>> from service.client import Client
>>> client = Client()                       # AGON_URL and AGON_TOKEN, or the stack that `agon up` started here
>>> job = client.submit(recipe="dcgan-digits", set={"train.images": 50_000})
>>> client.wait(job.id, on_event=print).state
'succeeded'

Every method of `Client` is one call of the API; `events`, `wait` and `every_job` combine calls. Errors: `service.client.errors`.
"""

from service.client.calls import Client
from service.client.errors import (
    ApiError,
    BadRequest,
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
from service.client.replies import (
    TERMINAL,
    Cluster,
    Dataset,
    DatasetCheck,
    Event,
    Failure,
    Job,
    JobModel,
    Model,
    ModelVersion,
    NewToken,
    Page,
    Progress,
    Recipe,
    RecipeSummary,
    Search,
    Token,
    Trial,
    TrialClone,
    TrialDetail,
    TrialResult,
)

__all__ = [
    "TERMINAL", "ApiError", "BadRequest", "Client", "ClientError", "Cluster", "Conflict", "Dataset", "DatasetCheck",
    "Event", "Failure", "Forbidden", "Invalid", "Job", "JobFailed", "JobModel", "Model", "ModelVersion", "NewToken", "NotConfigured",
    "NotFound", "Page", "Progress", "Recipe", "RecipeSummary", "Search", "Token", "TooLarge", "Trial", "TrialClone", "TrialDetail",
    "TrialResult", "Unauthenticated", "Unavailable", "Unreachable", "UnreadableReply",
]  # fmt: skip
