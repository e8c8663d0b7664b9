"""Searches on Ray Tune: its schedulers and searchers decide, every trial is a job like any other.

training   one training in a thread, held at each of its evaluations
ranks      further workers of a trial, in actors of the trial's placement group
trial      the trainable: Tune's step is "until the next evaluation"
progress   what a trial has done so far: scores, smoothed; images and seconds on its account
draws      which values the next trial has
schedulers Tune's successive halving and population-based training, by images
book       the record of all trials, from which a search goes on after anything
wishes     what is wanted of a search while it runs; limits: what ends trials and searches before their length
run        `search`: all of it together
driver     a Ray job's entry point: `python -m trainer.launch.tune SEARCH_DIR/search.json`
"""

from trainer.launch.tune.found import Found
from trainer.launch.tune.run import search

__all__ = ["Found", "search"]
