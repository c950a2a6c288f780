"""A page in the browser: click an object, watch it being followed, correct it.

::

    page  --messages-->  server  -->  session  -->  project (what the user has shown; undo)
      ^                                  |--------> model thread: hints to masks, vos.run_job
      '--- state, frames, label maps ----'

A session is one video and one folder of results, the same that ``vos-run`` writes. What the user
shows is a :class:`vos.app.project.Project`, a value; each edit gives another one, and all of them
are kept on the disk beside the results, for undo and for the next time the page is opened.
"""
