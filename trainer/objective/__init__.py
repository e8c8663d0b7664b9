"""Losses, penalties and the phases that combine them. Pure functions of tensors."""
