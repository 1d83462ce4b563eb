# One image for all that runs: the exchange's flows, its worker, a Prefect server, the sandbox providers.
# All in it belongs to root and can be read by every user, whatever your umask; only var is the exchange's own.
FROM python:3.11.14-slim-bookworm
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /opt/msgxc
COPY requirements.lock ./
RUN pip install --no-deps --require-hashes -r requirements.lock
COPY . .
ENV MSGXC_ROOT=/opt/msgxc PREFECT_UI_STATIC_DIRECTORY=/opt/msgxc/ui
# The console's pages are unpacked here: at the start nobody could write them.
RUN chmod -R a+rX,go-w . \
    && pip install --no-deps --no-build-isolation --editable . \
    && PREFECT_HOME=/tmp/prefect python -m msgxc.console_server --unpack \
    && rm -rf /tmp/prefect \
    && python -m compileall -q msgxc flows tasks \
    && useradd --create-home --uid 10001 msgxc && install -d -m 700 -o msgxc var
USER msgxc
CMD ["python", "-m", "msgxc.system"]
