"""Ray's dashboard: what its Jobs API and its Serve API have in common. One address, one token, and who didn't answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from trainer import spans


class RayUnreachableError(Exception):
    """Ray didn't answer, or not as Ray does: nothing is known, the call may even have worked. Try again."""


class RayAwayError(RayUnreachableError):
    """Nothing answered at all. To ask again at once would take as long, and tell nothing new."""

    def __init__(self, reason: str, *, nobody: bool) -> None:
        super().__init__(reason)
        self.nobody = nobody
        """Whether nobody is there; else someone is, and left this very call without an answer."""


class Dashboard:
    """Asks it. Thread-safe."""

    def __init__(self, address: str, token_file: Path | None = None, *, timeout: float = 10.0) -> None:
        self.address = address
        self._token_file = token_file
        self._client = httpx.Client(
            base_url=address,
            timeout=httpx.Timeout(timeout, connect=2.0),
            trust_env=False,  # no proxy between us and Ray, and no .netrc
            verify=not address.startswith("http:"),  # to read all authorities' certificates for nothing takes a while
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Its answer, whatever the status but 401 and 403. Raises RayUnreachableError."""
        try:
            response = self._ask(method, path, **options)
        except httpx.HTTPError as error:
            reason = f"Ray at {self.address} can't be reached ({str(error) or type(error).__name__})"
            raise RayAwayError(reason, nobody=isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)) from error
        if response.status_code in (401, 403):
            raise RayUnreachableError(
                f"Ray at {self.address} refuses the token in {self._token_file}: {response.text[:200]}"
            )
        return response

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """What only looks leaves no span: a job is looked at every second, for days."""
        if method == "GET":
            return self._client.request(method, path, headers=self._headers(), **options)
        facts = {"http.request.method": method, "url.full": f"{self.address}{path}"}
        with spans.span(method, kind="client", attributes=facts) as span:
            response = self._client.request(method, path, headers=self._headers(), **options)
            status = response.status_code
            span.set({"http.response.status_code": status}, error=str(status) if status >= 400 else None)
            return response

    def _headers(self) -> dict[str, str]:
        """Read each time: the cluster may have been restarted with a new token."""
        try:
            token = self._token_file.read_text().strip() if self._token_file else ""
        except OSError:
            token = ""
        return {"Authorization": f"Bearer {token}"} if token else {}

    def json(self, response: httpx.Response) -> Any:
        """What a good answer says. Raises RayUnreachableError."""
        if not response.is_success:
            raise RayUnreachableError(
                f"Ray at {self.address} answered {response.status_code}: {last_line(response.text)}"
            )
        try:
            return response.json()
        except ValueError as error:
            raise RayUnreachableError(f"{self.address} does not answer as Ray does") from error


def last_line(text: str) -> str:
    """A traceback's last words."""
    lines = [line for line in text.splitlines() if line.strip(" .")]
    return lines[-1][:500] if lines else ""
