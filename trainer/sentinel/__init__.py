"""Watches a training that nobody watches: measures → pure rules → warn, stop or roll back (docs/sentinel.md)."""

from trainer.sentinel.listener import Sentinel

__all__ = ["Sentinel"]
