"""The arithmetic of segment_anything's networks in an order that costs less.

Results differ in the last bits only, or not at all, but for ``padding``, which is an option. Each
module has a test of equality with segment_anything's or torch's own. What each is worth on two
threads of an AMD processor (docs/performance.md has the figures and how they were measured):

- ``decoder``, ``two_way``, ``cells``: one call of the mask decoder for one object takes 59 ms in
  place of 136 (one thread), for ten objects 749 in place of 2198. (test_decoder)
- ``products``: products as convolutions where the processor has AVX-512: a call for ten objects
  155 ms in place of 205. (test_products)
- ``nano``: an encoding of nano by one thread of an Intel with AMX 78 ms in place of 104, in
  bfloat16 49 ms in place of 70. (test_fused_nano)
- ``vit``: a block of vit_b 2.2 s in place of 5.2, with windows 0.49 in place of 0.67. (test_vit)
- ``strips``: an encoding of mobile_sam 329 ms in place of 482. (test_strips)
- ``allocator``: a whole frame of vit_b 3.5 s in place of 5.4, of nano nothing. (test_allocator)
- ``padding``: an encoding of mobile_sam 1.3 times as fast, of vit_b 1.5 times, with masks that
  differ a little. (test_padding)
- ``compiled``: ``torch.compile``, which gains nothing on a CPU. (test_encode)
"""
