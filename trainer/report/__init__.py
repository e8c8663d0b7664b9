"""One HTML page about a training that a person likes to look at; it opens offline.

subject   what a page is about: spec, model, curves, data; and how much may be drawn
load      subjects from a job's folder, from a package; live: from nets in memory
history   curves, from a job's events or from MLflow
sections  a table of small functions, each a section or a reason to leave it out
pictures, charts, page   sheets of images, curves, and the page made of them
build     all of it, into a folder
listener  the same at a job's evaluations and at its end

    python -m trainer.report JOB_FOLDER|PACKAGE|MODEL --out DIR

Importing it loads neither matplotlib nor jinja: a job needs them only once it has something to show.
"""
