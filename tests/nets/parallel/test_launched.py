"""Whether a launcher has started several processes, by what it leaves in the environment."""

from __future__ import annotations

import os

import pytest
from onepass.nets.parallel.mpi_communicator import SIZES, launched

SLURM = "SLURM_STEP_NUM_TASKS"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"PMI_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "16"}, True),
        ({"MV2_COMM_WORLD_SIZE": "3"}, True),
        ({"PMI_SIZE": "1"}, False),
        ({"PMI_SIZE": "0"}, False),
        ({"PMI_SIZE": ""}, False),
        ({"PMI_SIZE": "x"}, False),
        ({"PMI_SIZE": "-2"}, False),
        ({"PMI_SIZE": "1", "OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({SLURM: "8"}, False),  # tasks that may have nothing to do with one another
        ({SLURM: "8", "PMIX_RANK": "3"}, True),
        ({SLURM: "1", "PMIX_RANK": "0"}, False),
        ({SLURM: "8", "PMI_SIZE": "1"}, False),
        ({"PMIX_RANK": "0"}, False),
    ],
)
def test_several_processes_were_launched(monkeypatch, environment, expected):
    for name in {*SIZES, SLURM, "PMIX_RANK"} & {*os.environ}:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launched() is expected
