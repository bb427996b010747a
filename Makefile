# Needs Python 3.11 and make. `make demo` and `make test` set up what they need in .venv.
PYTHON ?= python3.11
BIN := .venv/bin
DEMO := .demo
DEMO_FLAGS ?= --epochs=8 --pretrain_epochs=1 --learning_rate=0.003
DATA ?= ../shared/data/neu-det

.PHONY: demo test lint bench kills fuzz ablation clean

demo: .venv/user
	$(BIN)/python main.py --stage=sample --data_dir=$(DEMO)/pictures
	$(BIN)/python main.py --stage=all --data_dir=$(DEMO)/pictures --work_dir=$(DEMO)/run $(DEMO_FLAGS)
	@echo
	@echo "The report: $(DEMO)/run/autoencoder/report.html. Three commands to try next:"
	@echo "  $(BIN)/python main.py --stage=predict --work_dir=$(DEMO)/run --images=$(DEMO)/pictures/test/images --output_dir=$(DEMO)/sorted"
	@echo "  $(BIN)/python main.py --stage=all --data_dir=FOLDER_OF_YOUR_PICTURES --work_dir=run"
	@echo "  $(BIN)/python main.py --help"

# In the order of the folders: the longest files come first, so that no core waits for the other.
test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# An hour with NIOSCOPE_ROUNDS=3 NIOSCOPE_MANY=1200, longer without. What is measured is kept in .bench:
# it can be interrupted.
# BENCH_FLAGS=--again measures everything anew, --all also what ours is compared with nobody in.
bench: .venv/developer
	PYTHONPATH=. $(BIN)/python tests/benchmarks/run.py $(BENCH_FLAGS)

# About half an hour on two free cores. NIOSCOPE_KILLS, NIOSCOPE_STAGES and NIOSCOPE_SIGNAL: see the program.
kills: .venv/developer
	$(BIN)/python -m pytest -s tests/benchmarks/kill_campaign.py

# Ten minutes each; what is found lies in .fuzz.
FUZZ_SECONDS ?= 600
fuzz: .venv/developer
	for target in annotation picture manifest; do PYTHONPATH=. $(BIN)/python tests/fuzz/run.py $$target --seconds=$(FUZZ_SECONDS) || exit 1; done

# Hours; what is measured is kept in .ablation, so that it can be interrupted.
ablation: .venv/developer
	PYTHONPATH=. $(BIN)/python tests/benchmarks/ablation.py --data=$(DATA) --out=.ablation

clean:
	rm -rf .venv .bench $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/user: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@

.venv/developer: requirements-dev.txt .venv/user
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@
