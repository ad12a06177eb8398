# litetext serve on a CPU: mini and photo by ONNX Runtime, without torch.
#   docker build -t litetext . && docker run -p 8000:8000 litetext
# With torch, for other SAM3 models and for videos: --build-arg EXTRAS=serve,video,anatomy
# On a GPU: --build-arg EXTRAS=serve,video,anatomy --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04
ARG BASE=debian:trixie-slim
FROM ${BASE}
ARG EXTRAS=serve
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1 PATH=/opt/litetext/bin:$PATH
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv libtcmalloc-minimal4 \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/litetext
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip install --no-cache-dir ".[${EXTRAS}]" && rm -rf /src \
    && useradd --create-home --uid 1000 litetext && mkdir /state && chown litetext /state
USER litetext
WORKDIR /home/litetext
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
ENTRYPOINT ["litetext", "serve", "--host", "0.0.0.0", "--state", "/state"]
