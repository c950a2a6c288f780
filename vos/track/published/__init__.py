"""PerSAM and PerSAM-F (arXiv 2305.03048): frames and a reference mask to masks.

Whole frames are encoded in batches (encode). The reference gives each object its target embedding
(personalize, locate; 3.1), and with PerSAM-F two weights (scale_fit; 3.3). In a frame the
similarity maximum and, in videos, the previous box prompt SAM (segment, prior); PerSAM guides it by
the similarity map (persam; 3.2). Its masks are refined in a cascade (refine; 3.2). video does all
that for the frames of a video, instances for pictures that may show several objects of a kind.
"""
