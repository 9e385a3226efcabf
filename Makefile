# On a machine with an NVIDIA GPU: every test, the sanitizers, the benchmark, in under 8 minutes and
# without a network. tests/proving/machine/prove.py tells more; its own exit status is 0, 1 or 2,
# make's 0 or 2.
PYTHON ?= python3
ARGUMENTS ?=

.PHONY: gpu
gpu:
	PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} $(PYTHON) -m proving.machine.prove $(ARGUMENTS)
