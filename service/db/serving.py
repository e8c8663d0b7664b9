"""What answers questions to models: the applications on Ray Serve, and the place that each holds on the cluster."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Double, Integer, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from service.db.base import Base


class ServedApplication(Base):
    """One of them. The API writes when it was asked, a reconciler everything else; `stop` is set by the one and taken back by the other."""

    __tablename__ = "served_applications"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    asked_at: Mapped[datetime | None]
    """The last question, some seconds at most before it; None: since Serve ended there was none."""
    phase: Mapped[str] = mapped_column(String(16), default="off", server_default="off")
    """`off`: it holds no place. `starting`, `ready`: it holds one, and is declared. `leaving`: it isn't any more, and its replicas end."""
    granted_at: Mapped[datetime | None]
    """Since when it holds its place."""
    cpus: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    """Of one replica; of the place that it holds."""
    gpus: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    """The same of GPUs."""
    replicas: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """That there is a place for."""
    running: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Of these, that answered when someone last looked."""
    coming: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """And that started."""
    token: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """What a question has to bring; made with the place."""
    reason: Mapped[str] = mapped_column(Text, default="", server_default="")
    """Why it isn't ready."""
    failed: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether Serve could not run it: `reason`."""
    again_at: Mapped[datetime | None]
    """It gets no place before; None: at once."""
    stop: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether someone wants it to end now."""
    due_at: Mapped[datetime | None]
    """When someone looks at Serve next; while someone does, by when they have ended."""
    revision: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Of what a reconciler writes, and of `stop`."""
