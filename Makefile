# On a machine with an NVIDIA GPU: every kernel against its oracle, figures, the tests of the GPU, the
# sanitizers, in under 9 minutes and without a network. tests/proving/machine/prove.py tells more; its
# own exit status is 0, 1 or 2, make's 0 or 2. ARGUMENTS="--out FOLDER" puts all that is written there,
# as it comes; ARGUMENTS=--everything has all other tests and the benchmark too.
PYTHON ?= python3
ARGUMENTS ?=

.PHONY: gpu
gpu:
	PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} $(PYTHON) -m proving.machine.prove $(ARGUMENTS)
