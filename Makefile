# make train   train GENet on the embedded images, 2 ranks
# make test    the whole test suite
# make lint    ruff and mypy
# All set up .venv first, once; PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed-$(shell cat Makefile pyproject.toml setup.py kernels/csrc/*.[ch] kernels/csrc/*.inc | cksum | cut -d' ' -f1)
# mpirun refuses to run as root, or with more ranks than cores, without these.
export OMPI_ALLOW_RUN_AS_ROOT = 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = 1
export PRTE_MCA_rmaps_default_mapping_policy = :oversubscribe
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: train test lint clean

train: $(STAMP)
	mpirun -n 2 python -m launch.train --net genet

test: $(STAMP)
	@failed=0; \
	python -m pytest -n 2 --dist loadfile -m 'not slow and not alone' || failed=1; \
	python -m pytest -m 'alone and not slow' || failed=1; \
	exit $$failed

# mypy looks for `cellwright.engine` below a folder `cellwright`, as a wheel has it; a checkout has it beside.
PUBLIC := cellwright $(foreach room,kernels.compiler kernels.csrc kernels.nodes dataloader nets engine engine.profiling,cellwright.$(room))
lint: $(STAMP)
	ruff check .
	ruff format --check .
	@mkdir -p build/mypy/cellwright && ln -sfn ../../../cellwright/__init__.py build/mypy/cellwright/__init__.py
	@for room in kernels dataloader nets engine launch; do ln -sfn ../../../$$room build/mypy/cellwright/$$room; done
	cd build/mypy && mypy --config-file ../../pyproject.toml $(addprefix -m ,$(PUBLIC))

$(STAMP):
	@$(PYTHON) launch/host/preflight.py $(VENV)
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	# In a folder of its own: MPICH and Open MPI both bring an mpirun and an mpiexec. Only the tests need it.
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-installed \
		--no-warn-script-location --prefix $(VENV)/mpich mpich==5.0.2
	@echo "compiling the loader's kernels for this machine"
	@$(VENV)/bin/python -m cellwright.dataloader.precompile
	@rm -f $(VENV)/.installed-* && touch $@

clean:
	rm -rf $(VENV) build *.egg-info kernels/csrc/*.so
