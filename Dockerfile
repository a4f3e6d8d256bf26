# The device in a container: `tlc watch`, `serve`, `predict`, `enroll` and the rest, for amd64 and arm64 alike.
#
#   docker build -t tlc .
#   docker buildx build --platform linux/amd64,linux/arm64 -t tlc .

FROM python:3.12-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
COPY --from=wheel /wheels /wheels
# Bytecode is compiled now: the root is read-only when it runs.
RUN pip install --no-cache-dir --compile "$(echo /wheels/*.whl)[camera,mqtt,heic,serve]" \
    && useradd --uid 1000 --create-home --groups video tlc \
    && install -d -o tlc -g tlc -m 700 /data
# What passed the self-test is remembered beside the bundle, so that the next start need not run it again.
ENV XDG_CACHE_HOME=/data/.cache
WORKDIR /data
VOLUME /data
USER 1000:1000
ENTRYPOINT ["tlc"]
CMD ["--help"]
