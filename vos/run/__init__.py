"""Everything between what the user wants and files on the disk.

In flows a source with references and settings, out flow the files of one result, and what became of
each object.

    outputs, names   where the results go, and names they may have
    replacing        what may be replaced there: what vos wrote, and nothing that the run reads
    only_writer      one run at a time
    results, saving  the chain of sinks, and the saved state beside it
    preview          references on their frames, before anything is tracked
    resume, state    whether a run that broke off is the same one, and where it stands
    inputs, passes   what a job reads, and its passes backwards (backwards) and forwards
    made_from        what results were made from; of a changed job, what is done again (changes,
                     update) and how that takes its place (swap)
    read_results     results read back, for whatever goes on with them
"""
