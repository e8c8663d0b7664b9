"""Calls about people's tokens: one's own, and for administrators all."""

from __future__ import annotations

from service.bodies.base import Page
from service.bodies.tokens import NewToken, Token, Who
from service.client.base import Calls, part


class TokenCalls(Calls):
    """Part of `Client`."""

    def create_token(
        self, name: str, *, scope: str = "user", owner: str | None = None, expires_in: str | float | None = None
    ) -> NewToken:
        """Make a token (`scope`: viewer, user or admin). Its secret is in this answer and nowhere else.

        owner: the person whose it is; None: whoever asks, or, if that is an administrator, `name`. expires_in: seconds, or text such
        as `30d`; None: as late as the server lets it. Raises Forbidden for more than the caller may do, or for others than oneself.
        """
        given = {"owner": owner, "expires_in": expires_in}
        body = {"name": name, "scope": scope} | {what: value for what, value in given.items() if value is not None}
        return self._read(NewToken, "POST", "/v1/tokens", body=body)

    def tokens(self, owner: str | None = None) -> tuple[Token, ...]:
        """The caller's tokens, an administrator's call: all people's or `owner`'s; oldest first."""
        return self._read(Page[Token], "GET", "/v1/tokens", params={"owner": owner}).items

    def rotate_token(
        self, token_id: str, *, overlap: str | float | None = None, expires_in: str | float | None = None
    ) -> NewToken:
        """Give a token another secret, which is in this answer and nowhere else.

        overlap: how long the old one works on, an hour by default; 0: not at all. expires_in: None leaves the expiry as it is.
        """
        given = {"overlap": overlap, "expires_in": expires_in}
        body = {what: value for what, value in given.items() if value is not None}
        return self._read(NewToken, "POST", f"/v1/tokens/{part(token_id)}/rotate", body=body)

    def me(self) -> Who:
        """Whose token this is, and what it may do."""
        return self._read(Who, "GET", "/v1/session")

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token; it stops working at once."""
        self._connection.call("DELETE", f"/v1/tokens/{part(token_id)}")
