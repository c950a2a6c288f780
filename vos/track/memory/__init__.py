"""The default method: follow objects by what is remembered of them, crop by crop.

In goes one frame after the other, with a label map for the first and for every further reference;
out comes, for each frame, one mask per object with the IoU that it can be expected to have. Between
frames stands one :class:`~vos.track.memory.tracks.Track` per object, of fixed size.

A reference is learned (``tracks``): its cells are remembered, and a pixel classifier is fitted. The
stages of every later frame (``follow``), each with its module:

1. ``motion`` predicts where each object is, and how large;
2. ``crops`` encodes windows around these positions, which objects near each other share;
3. ``correspond``: dense correspondence, each cell takes the labels of the remembered cells that it
   resembles most;
4. ``prompts`` turns that into SAM's prompts, for one call of the decoder per crop;
5. ``head``: the pixel classifier, of the decoder's channels, the correspondence and the
   ``colours``; ``fine`` corrects it where an object is thinner than the decoder's pixels;
6. ``parts`` drops connected parts with which the object would be too large;
7. ``trust`` judges the mask: lost, found again, or followed with an expected IoU;
8. ``vos.track.masks`` settles pixels that several objects claim, by logits and by motion;
9. what is seen now is remembered, and the motion goes on.
"""
