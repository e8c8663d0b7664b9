"""Each recipe against its paper's own figure, by its paper's own protocol: see docs/reproduction.md.

    python -m benchmarks.reproduce RECIPE|all [--mnist ZIP_OR_FOLDER] [--images N] [--seeds 0 1]

mnist      the images: train / valid / test, packed at the resolution that a job asks for
platform   the embedded stack, and the job: found again, or submitted, and followed to its end
trained    what a finished job left: package, checkpoint, events
figures    one measured figure beside the paper's
protocols  what each recipe is measured by: one table
results    the JSON of a recipe
pictures   what a person would rather look at
"""
