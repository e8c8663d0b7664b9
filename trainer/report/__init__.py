"""One HTML page about a training, or a search, that a person likes to look at; it opens offline.

subject   what a page is about: spec, model, curves, data; and how much may be drawn
load      subjects from a job's folder, from a package; live: from nets in memory
history   curves, from a job's events or from MLflow
sections  a table of small functions, each a section or a reason to leave it out
pictures, charts, page   sheets of images, curves, and the page made of them
head, build   what stands above them; all of it, into a folder
assemble  sections into a page's file, whatever the page is about
search    the page of a search
listener  the same at a job's evaluations and at its end

    python -m trainer.report JOB_FOLDER|PACKAGE|MODEL --out DIR
    python -m trainer.report.search SEARCH_FOLDER --out DIR

Importing it loads neither matplotlib nor jinja: a job needs them only once it has something to show.
"""
