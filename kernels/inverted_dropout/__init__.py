"""Dropout in one walk over the array, its mask told from numbers and never stored: one file an
engine.

The random bits of an element are a function of a seed, the number of the draw and the element's
place: Philox4x32-10, a generator that counts (philox.py). So every engine, device, dtype and
layout has the same mask, and the backward pass works it out again instead of reading it. One call
of the generator gives the bits of four elements.

What shaped the engine on the CPU ("numba"):

- The generator keeps each 32-bit word in 64 bits, whose upper half holds what multiplication left
  there: the next multiplication reads the lower half alone, so that a round of 16 elements or more
  is two multiplications, two shifts and a few exclusive ors of SIMD registers.
- Bits go through a buffer in the nearest cache. Multiplying the elements in the generator's own
  loop brought little where registers are of 64 bytes, and halved its speed where they are of 32.
- Packing two words into one of 64 bits before they are stored was slower: the compiler makes one
  64-bit multiplication of a product that is shifted, and that is no SIMD instruction but three.
"""

from .mask_and_scale import dropout

__all__ = ["dropout"]
