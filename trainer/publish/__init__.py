"""Publishing: a finished generator as a portable package, an MLflow model version, and maybe the champion.

>>> listeners.append(Publisher(job, dataset))
"""

from trainer.errors import PublishError
from trainer.publish.package import build_package
from trainer.publish.publisher import Publisher

__all__ = ["PublishError", "Publisher", "build_package"]
