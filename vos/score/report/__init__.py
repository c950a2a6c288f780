"""An ``Evaluation`` in files: ``export`` writes JSON and DAVIS' CSV, ``page`` an HTML page.

The page is drawn from ``page.html``; ``pictures`` makes the pictures in it from the label maps and
images that were scored.
"""
