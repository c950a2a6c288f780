"""Exports: results as the files that editors, annotators and trainers open.

In flow finished results and, where a format shows pixels, the source's frames; out flow files.

    clip            what is exported and how: results, source, options; frames with their masks
    clean_up        masks grown, filled, smoothed; soft edges
    journal         which files an export made, so that it can go on and replaces nothing of others
    export          one pass over the frames for all formats that are wanted
    formats         the table of formats; each is a generator that writes and hands frames on, like
                    the sinks of a run
"""
