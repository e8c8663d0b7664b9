"""Calls about people's tokens, for administrators."""

from __future__ import annotations

from service.bodies.base import Page
from service.bodies.tokens import NewToken, Token
from service.client.base import Calls, part


class TokenCalls(Calls):
    """Part of `Client`."""

    def create_token(self, name: str, *, scope: str = "user", owner: str | None = None) -> NewToken:
        """Make a token (`scope`: user or admin) of `owner`, or of `name`. Its secret is in this answer and nowhere else."""
        body = {"name": name, "scope": scope} | ({"owner": owner} if owner else {})
        return self._read(NewToken, "POST", "/v1/tokens", body=body)

    def tokens(self) -> tuple[Token, ...]:
        """People's tokens, oldest first."""
        return self._read(Page[Token], "GET", "/v1/tokens").items

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token; it stops working at once."""
        self._connection.call("DELETE", f"/v1/tokens/{part(token_id)}")
