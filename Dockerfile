# The image of the gateway: an interpreter, the locked dependencies, the package. No compiler, no pip, no shell scripts.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg COMMIT="$(git rev-parse HEAD)" -t llm-gateway .
#
# Python 3.11 is the version the whole suite runs on with real services beside it; the others are tested in CI.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# Dependencies first: they change less often than the code. Every file is checked against the hashes in the locks, the
# builder of the one dependency that comes as source too.
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv /opt/pip \
    && /opt/pip/bin/pip install --require-hashes --only-binary :all: -r requirements-build.lock \
    && /opt/pip/bin/pip wheel --require-hashes --no-deps --no-build-isolation -r requirements.lock -w wheels \
    && python3 -m venv --without-pip /opt/gateway \
    && /opt/pip/bin/pip --python /opt/gateway/bin/python install --no-index --no-deps wheels/*.whl

COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY gateway gateway
# /projects: where projects are mounted or copied (docs/projects.md). It comes last in the search path and replaces nothing.
RUN /opt/pip/bin/pip wheel --no-deps --no-build-isolation -w project . \
    && /opt/pip/bin/pip --python /opt/gateway/bin/python install --no-index --no-deps project/*.whl \
    && echo /projects >"$(/opt/gateway/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/projects.pth"


FROM ${PYTHON_IMAGE}

# What could install more, and is not needed to run.
RUN rm -rf /usr/local/bin/pip* /usr/local/bin/wheel* /usr/local/lib/python3*/ensurepip \
        /usr/local/lib/python3*/site-packages/*

COPY --from=build /opt/gateway /opt/gateway

ARG VERSION=0.0.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="LLM gateway" \
      org.opencontainers.image.description="An HTTP gateway in front of LLM providers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"

# Nothing is ever written below /: run it with a read-only root file system.
ENV PATH="/opt/gateway/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_PORT=8080 \
    GATEWAY_BUILD="${COMMIT}"

WORKDIR /
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM

# /livez and not /readyz: a gateway that drains is not to be killed for it.
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-I", "-S", "-c", \
    "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['GATEWAY_PORT']), timeout=2); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["python", "-m", "gateway"]
CMD ["serve"]
