# One image for a Hugging Face Space, for plain Docker and for AWS Lambda:
#
#   docker build -t factory .                                 the first start downloads the models
#   docker build -t factory --build-arg FACTORY_PRELOAD=1 .   the models are part of the image, 6 GB more
#   docker build -t factory --build-arg EXTRAS="traces mcp" . with what traces and the door for MCP need; s3: a
#                                                             bucket; html: batch reads it
#   docker run -p 7860:7860 factory
#   docker run -p 7860:7860 --read-only --tmpfs /tmp -v factory-models:/app/models factory
#
# On Lambda the entry point is `python -m awslambdaric`, the command a handler such as functions.extract.handler.handler.

# Any Debian 12 with Python 3.11 and its venv module. A tag moves: who wants the same bytes each time gives a digest,
# --build-arg BASE=python@sha256:..; none is written here, as no registry could be asked for it.
ARG BASE=python:3.11-slim-bookworm


FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make
WORKDIR /app

# pip's own variables, where packages come from elsewhere than by default.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1

# llama.cpp is most of the build: what is copied before it is what it depends on. Portable: it finds out when it starts
# which instructions the CPU has, as an image is built on one machine and runs on others.
COPY Makefile ./
COPY requirements/build.txt requirements/service.txt requirements/llama.cmake requirements/
RUN make LLAMA_BUILD=portable .venv/service.stamp
# What was needed to build and to install leaves the environment again.
COPY requirements/lambda.txt requirements/traces.txt requirements/mcp.txt requirements/s3.txt requirements/html.txt \
    requirements/
ARG EXTRAS=
RUN for extra in lambda ${EXTRAS}; do \
        .venv/bin/pip install --quiet --no-deps --require-hashes -r "requirements/${extra}.txt" || exit 1; \
        sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "requirements/${extra}.txt" >> needed; \
    done \
    && sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' requirements/service.txt >> needed \
    && sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' requirements/build.txt | grep -vxFf needed \
        | xargs .venv/bin/pip uninstall --quiet --yes setuptools pip \
    && rm -f needed .venv/*.stamp .venv/llama.*

COPY batch batch
COPY common common
COPY functions functions
COPY runner runner
COPY web web
COPY local_runner.py LICENSE ./
COPY models/embedded models/embedded
ENV PATH=/app/.venv/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1
RUN python -m compileall -q --invalidation-mode unchecked-hash batch common functions runner

# Loading a GLiNER rebuilds its graph beside it, which a read-only image can do no more. (The layers of an image keep
# whole seconds, and a model's checksum is only taken again when the file looks changed.)
RUN find models -type f -exec touch -d @0 {} + \
    && FACTORY_PROFILE=embedded python -c "from functions.extract.engine import load; load(print)"

# Of a preset other than the profile's the container has to be told as well. And no token, which could be read in the
# image's history.
ARG HF_ENDPOINT
ARG FACTORY_SUMMARIZE__MODEL
ARG FACTORY_PRELOAD=0
RUN if [ "${FACTORY_PRELOAD}" = 1 ]; then \
        unset FACTORY_PRELOAD; export FACTORY_PROFILE=space; \
        python -m runner.downloads \
        && find models -name '*.lock' -delete && find models -type f -exec touch -d @0 {} + \
        && python -c "from functions.extract.engine import load; load(print)"; \
    fi


FROM ${BASE}
# llama.cpp computes with OpenMP.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libgomp1 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home factory \
    && install -d -o 1000 -g 1000 /home/factory/.cache /home/factory/.cache/segmento-factory
WORKDIR /app
COPY --from=build /app/.venv .venv
# The service's own folder: here it keeps what it downloads, while the rest of /app is not its to change.
COPY --from=build --chown=1000:1000 /app/models models
COPY --from=build /app/batch batch
COPY --from=build /app/common common
COPY --from=build /app/functions functions
COPY --from=build /app/runner runner
COPY --from=build /app/web web
COPY --from=build /app/local_runner.py /app/LICENSE ./

# HOME is said, since not every runtime looks it up: the caches of the service and of the hub's library are in it. The
# service's own is made above, as a Space that is to preload models puts others beside it, which need not be uid 1000's.
# onnxruntime reports to its maker unless it is told not to.
ENV PATH=/app/.venv/bin:$PATH \
    HOME=/home/factory \
    HF_HOME=/home/factory/.cache/huggingface \
    ORT_DISABLE_TELEMETRY=1 \
    FACTORY_PROFILE=space
USER 1000
EXPOSE 7860
# Alive, not ready: the first start downloads for minutes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.getenv('FACTORY_PORT', '7860') + '/health', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["python", "local_runner.py"]
