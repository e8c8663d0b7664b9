"""agon search: the verbs, and what they share.

app       the group of verbs, its help, and its short form `agon search FILE`
start     submit, watch, init, validate
look      list, show, trials, logs, report
ask       stop, cancel, pause, resume, extend
source    FILE and --set, names of searches and trials; template: a file to begin with
watch     live progress; view: what of a search's events is shown
"""
