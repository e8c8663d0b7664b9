"""Calls about registered datasets."""

from __future__ import annotations

from service.bodies.base import Page
from service.bodies.datasets import Dataset, DatasetCheck
from service.client.base import Calls, part

CHECK_SECONDS = 630.0
"""For the answer to a check of a dataset: the API gives up after ten minutes."""


class DatasetCalls(Calls):
    """Part of `Client`."""

    def register_dataset(self, name: str, url: str) -> Dataset:
        """Register a packed dataset; its manifest is read now."""
        return self._read(Dataset, "POST", "/v1/datasets", body={"name": name, "url": url})

    def datasets(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Dataset]:
        """One page of registered datasets."""
        return self._read(Page[Dataset], "GET", "/v1/datasets", params={"limit": limit, "cursor": cursor})

    def dataset(self, name: str) -> Dataset:
        """One registered dataset."""
        return self._read(Dataset, "GET", f"/v1/datasets/{part(name)}")

    def check_dataset(self, name: str) -> DatasetCheck:
        """Verify every shard's hash; ten minutes at most."""
        path = f"/v1/datasets/{part(name)}/check"
        return self._read(DatasetCheck, "POST", path, timeout=CHECK_SECONDS)

    def delete_dataset(self, name: str) -> None:
        """Forget a dataset; its files stay."""
        self._connection.call("DELETE", f"/v1/datasets/{part(name)}")
