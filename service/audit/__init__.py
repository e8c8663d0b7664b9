"""Who changed what, and who was refused a change (docs/audit.md)."""
