"""Published models, asked over HTTP: one program for Ray Serve. torch comes in where a replica starts.

questions  what is asked
wire       what comes along with it, and the refusals that come back; torch-free as `questions`: the control plane imports both
app        the two applications, as Ray Serve builds them: `trainer.serve.app:build`, `…:build_plans`
replica    one replica of either: the thin part that knows Ray
door       HTTP: whose token it is, how long a body may be, what a refusal looks like
desk       a question's way through a replica: is there room, which model, how long
answers    question → rows for the nets → images → a file
joining    rows of several requests in one forward, fairly; `work` is what they are rows of
shelf      models by name, loaded once for all who wait; `loading` is from where
latents, curves, uploads, neighbours, pictures, films   what the answers are made of
"""
