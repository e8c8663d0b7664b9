"""Questions to published models, and what answers them: `POST /v1/models/{name}/generate`, …, `GET /v1/serve`.

crowd       how many are under way at once
places      what the rows say of who answers; asking is what gets it a place
asker       one question, from the wait for a replica to its answer or the reason why there is none
versions    which version of a model is meant
questions   what all calls have in common: the version, the tag, the metrics
"""
