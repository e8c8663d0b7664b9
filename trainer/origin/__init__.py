"""A checkpoint that another training begins with: found, held and judged without torch.

>>> taken = take(run_folder, "best", aside, mode="weights")    # hard links in `aside`, and what the checkpoint says of itself
>>> fit(expected, shapes(taken.folder), restart).problems      # what of it the new nets can't take
"""
