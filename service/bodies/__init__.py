"""What crosses the REST API, described once: the server's routes answer with these bodies, and the client reads them.

They need pydantic, and of the trainer what specs, searches and plans are made of; neither FastAPI nor SQLAlchemy. A body of a
request refuses fields that it doesn't know (`base.Request`); one of an answer keeps those that a newer server adds (`base.Reply`).
The plan of a job is `trainer.plan.result.Plan`, and what a running job reports is in `trainer.wire`.
"""
