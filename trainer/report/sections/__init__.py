"""The sections of a report, in the order of the page. To add one: a function and a line here."""

from trainer.report.page import Section
from trainer.report.sections.about import about
from trainer.report.sections.curves import losses, scores
from trainer.report.sections.latent import arithmetic, codes, interpolation
from trainer.report.sections.memory import neighbours
from trainer.report.sections.reconstruction import reconstructions
from trainer.report.sections.samples import classes, samples
from trainer.report.sections.timeline import timeline
from trainer.report.sections.truncation import truncation
from trainer.report.subject import Subject

SECTIONS: tuple[Section[Subject], ...] = (
    Section(
        "samples",
        "Samples",
        "Images of random latents, none picked by hand: look for variety within a row, for repeats, and for broken shapes.",
        samples,
    ),
    Section(
        "timeline",
        "Samples over the training",
        "The same latents as the training went on: they should come to look like something and then stay what they are; "
        "columns that become alike say that the generator collapses.",
        timeline,
    ),
    Section(
        "classes",
        "What a classifier sees",
        "The dataset's own classifier reads generated images: a class that hardly appears was dropped, a label that is "
        "not obeyed was not learned.",
        classes,
    ),
    Section(
        "interpolation",
        "Between two latents",
        "From one latent to another in even steps: a generator that has learned the data changes smoothly and passes "
        "plausible images all the way, one that memorised jumps.",
        interpolation,
    ),
    Section(
        "codes",
        "What each code does",
        "Along a row the noise stays and one code moves: a code has a meaning if every row changes in the same way.",
        codes,
    ),
    Section(
        "arithmetic",
        "Arithmetic of latents",
        "Whether directions in latent space carry meaning from one image to another.",
        arithmetic,
    ),
    Section(
        "reconstructions",
        "Reconstructions",
        "Real images x and what the generator makes of their codes, G(E(x)): what differs is what the code does not hold.",
        reconstructions,
    ),
    Section(
        "neighbours",
        "Nearest training images",
        "The samples that lie nearest to a training image, each beside its nearest ones: copies would show here, and as "
        "sample distances far below those of training images among themselves.",
        neighbours,
    ),
    Section(
        "losses",
        "Training curves",
        "All metrics over the training. Two players that stay in balance keep each other busy, and a loss that runs away for "
        "good says that one has won; a GAN's loss is no measure of its images. Of an autoencoder lower is better.",
        losses,
    ),
    Section(
        "scores",
        "Scores over the training",
        "Scores of the generator as it was at each evaluation: when it was best, and whether longer training still helps.",
        scores,
    ),
    Section(
        "truncation",
        "Truncation",
        "Latents nearer to the middle give likelier images and fewer kinds: towards small τ precision may rise while "
        "recall falls, and the Fréchet distance shows where the trade is best.",
        truncation,
    ),
    Section("about", "What this is", "All that is needed to make it again, and to know what its scores mean.", about),
)

__all__ = ["SECTIONS"]
