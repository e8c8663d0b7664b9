"""Published models, asked over HTTP: one program for Ray Serve. `wire` is what crosses to it; torch comes in where a replica starts.

wire       what is asked, and the headers that come along; torch-free, the control plane imports it, too
app        the two applications, as Ray Serve builds them: `trainer.serve.app:build`, `…:build_plans`
replica    one replica of either: the thin part that knows Ray
door       HTTP: whose token it is, how long a body may be, what a refusal looks like
desk       a question's way through a replica: is there room, which model, how long
answers    question → rows for the nets → images → a file
joining    rows of several requests in one forward, fairly; `work` is what they are rows of
shelf      models by name, loaded once for all who wait; `loading` is from where
latents, curves, uploads, neighbours, pictures, films   what the answers are made of
"""
