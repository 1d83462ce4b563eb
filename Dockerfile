# One image for all that runs: the exchange's flows, its worker, a Prefect server, the sandbox providers.
FROM python:3.11.14-slim-bookworm
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /opt/msgxc
COPY requirements.lock ./
RUN pip install --no-deps --require-hashes -r requirements.lock
COPY . .
RUN pip install --no-deps --no-build-isolation --editable . \
    && useradd --create-home --uid 10001 msgxc && mkdir -p var && chown msgxc var
USER msgxc
ENV MSGXC_ROOT=/opt/msgxc
CMD ["python", "-m", "msgxc.system"]
