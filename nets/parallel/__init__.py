"""Training on several processes at once ("ranks"), each with a part of every batch.

communicator.py says what carries arrays between ranks, MPI on the CPU or NCCL on GPUs;
data_parallel.py ties a network and its optimizer to it; agreement.py keeps ranks in step.
"""
