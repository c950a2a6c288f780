"""Many videos: a list of jobs, done by one process, by several, or by many machines.

    manifest   JSONL, CSV or a pattern -> Task      checked whole before anything starts
    engines    Task -> Outcome                      local (processes), on_ray (a cluster)
    do_job     one task: skip, claim, fetch, run_job, publish, commit
    report     Outcome -> batch.json and the closing table

An engine takes tasks from ``pending``, which holds them back, gives them out again where a failure
can pass, and knows when all is over. What a job has come to is in its record (``records``), whose
digest (``digest``) tells whether it is still the same job. Results go to ``stores``, on the disk or
by fsspec; those for a remote one grow in a ``stage`` before. ``claims`` keep two workers from one
job, ``cache`` has remote videos, and ``pack`` puts a job's label maps into one file. ``sets`` are
data sets as batches. Nothing of this is loaded by ``import vos``.
"""
