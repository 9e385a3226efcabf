"""Links and processors by name, of which data sheets and papers tell: for steps on paper."""

from __future__ import annotations

from .data_parallel import Link, Processor

ETHERNET = Link(
    "10 Gb/s Ethernet",
    alpha=20e-6,
    beta=10e9 / 8,
    source="alpha: Hurwitz and Feng 2003, Initial End-to-End Performance Evaluation of 10-Gigabit "
    "Ethernet (20 us between applications); beta: its name",
)
INFINIBAND = Link(
    "200 Gb/s InfiniBand",
    alpha=14e-6,
    beta=200e9 / 8,
    source="alpha: NCCL, src/graph/tuning.cc, hwLat (network, ring, simple: 14.0 us); beta: its "
    "name",
)
NVLINK = Link(
    "NVLink 4, 450 GB/s",
    alpha=3.4e-6,
    beta=450e9,
    source="alpha: NCCL, src/graph/tuning.cc, hwLat (NVLink, ring, simple: 3.4 us); beta: NVIDIA, "
    "H200 data sheet (900 GB/s, both directions together)",
    most=8,
)

SERVER = Processor(
    "a CPU of 1 TFLOP/s",
    rate=1e12,
    bandwidth=100e9,
    source="round figures: 16 cores with AVX2 at 2.5 GHz have a peak of 1.28 TFLOP/s in float32",
)
H200 = Processor(
    "H200",
    rate=67e12,
    bandwidth=4.8e12,
    source="NVIDIA, H200 data sheet: peaks in float32 without tensor cores, and of memory",
    memory=141e9,
)

PAIRS = ((ETHERNET, SERVER), (INFINIBAND, H200), (NVLINK, H200))
"""Links, each with a processor that is commonly joined by it."""
