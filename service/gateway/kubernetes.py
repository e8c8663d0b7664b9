"""The API server of Kubernetes, as a pod reaches it: its own service account's token, over plain HTTP calls.

Kubernetes API conventions: an object is changed with the `resourceVersion` that was read (409 if it is another by now), and deleted
with its `uid` and version as preconditions, so that a newer object of the same name is never met.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx

from service.gateway.dashboard import RayAwayError, RayUnreachableError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts token, namespace and the API server's authority into a pod."""
PAGE = 500
"""Objects of a list that are asked for at once."""


class Kubernetes:
    """Asks it. Thread-safe. Raises RayUnreachableError: nothing is known of the call's effect; it is Ray's clusters that are asked for."""

    def __init__(self, url: str, account: Path = ACCOUNT, *, timeout: float = 10.0) -> None:
        """url: `https://kubernetes.default.svc`. Raises OSError if the account's authority can't be read."""
        self.url, self._account = url, account
        verify: ssl.SSLContext | bool = False
        if url.startswith("https:"):
            verify = ssl.create_default_context(cafile=str(account / "ca.crt"))
        self._client = httpx.Client(
            base_url=url, timeout=httpx.Timeout(timeout, connect=2.0), trust_env=False, verify=verify
        )

    @property
    def namespace(self) -> str:
        """The pod's own. Raises RayUnreachableError."""
        try:
            return (self._account / "namespace").read_text().strip()
        except OSError as error:
            raise RayUnreachableError(f"the service account in {self._account} can't be read: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str) -> dict[str, Any] | None:
        """An object; None if there is none."""
        response = self._call("GET", path)
        return None if response.status_code == httpx.codes.NOT_FOUND else self._json(response)

    def list(self, path: str, labels: str) -> list[dict[str, Any]]:
        """All objects with these labels (`name=value`), page by page."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"labelSelector": labels, "limit": PAGE}
        while True:
            page = self._json(self._call("GET", path, params=params))
            found += page.get("items", [])
            token = page.get("metadata", {}).get("continue")
            if not token:
                return found
            params = {**params, "continue": token}

    def create(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """The answer, whatever it is but one of an outage."""
        return self._call("POST", path, json=body)

    def delete(self, path: str, found: dict[str, Any]) -> None:
        """Delete that object; one that is gone, or another by now, stays as it is."""
        facts = found["metadata"]
        body = {
            "propagationPolicy": "Foreground",  # it is there until all that belongs to it is gone
            "preconditions": {"uid": facts["uid"], "resourceVersion": facts["resourceVersion"]},
        }
        response = self._call("DELETE", path, json=body)
        if response.status_code not in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
            self._json(response)

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Its answer. What it says of an outage of its own, or of rights that we lack, is raised."""
        try:
            response = self._client.request(method, path, headers=self._headers(), **options)
        except httpx.HTTPError as error:
            reason = f"Kubernetes at {self.url} can't be reached ({str(error) or type(error).__name__})"
            raise RayAwayError(reason, nobody=isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)) from error
        if response.status_code in (401, 403) and not _of_this_one(method, response):
            raise RayUnreachableError(f"Kubernetes refuses the API's service account: {message(response)}")
        if response.status_code == 429 or response.status_code >= 500:
            raise RayUnreachableError(f"Kubernetes answered {response.status_code}: {message(response)}")
        return response

    def _headers(self) -> dict[str, str]:
        """Read each time: Kubernetes replaces the token every hour."""
        try:
            return {"Authorization": f"Bearer {(self._account / 'token').read_text().strip()}"}
        except OSError:
            return {}

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        if not response.is_success:
            raise RayUnreachableError(f"Kubernetes answered {response.status_code}: {message(response)}")
        try:
            body = response.json()
        except ValueError as error:
            raise RayUnreachableError(f"{self.url} does not answer as Kubernetes does") from error
        if not isinstance(body, dict):
            raise RayUnreachableError(f"{self.url} does not answer as Kubernetes does")
        return body


def message(response: httpx.Response) -> str:
    """What a refusal says: of its Status object."""
    try:
        return str(response.json()["message"])[:500]
    except (ValueError, LookupError, TypeError):
        return response.text[:200]


def _of_this_one(method: str, response: httpx.Response) -> bool:
    """Whether it is this object that is refused, by a quota or an admission webhook, and not our rights."""
    words = message(response)
    return (
        method == "POST"
        and response.status_code == 403
        and ("exceeded quota" in words or "denied the request" in words)
    )
