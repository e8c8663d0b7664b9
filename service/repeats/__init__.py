"""A request that is sent again because its answer was lost: it is answered again, and not done again (`Idempotency-Key`)."""
