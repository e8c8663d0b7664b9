"""The embedded stack: Ray, MLflow and the API on one machine. `service.local` composes what lies here.

layout     where things lie under AGON_HOME, and the tokens
ports      which ports, and who has them
parts      what is started, with which environment, and how to tell that it is ready
processes  start, look at and stop processes, so that none stays behind
record     stack.json: what runs
"""
