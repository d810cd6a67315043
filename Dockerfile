# spadework with everything that its verbs need, for one machine or as the image of a Ray cluster.
#
#   docker build --tag spadework .                            # CPUs; PyTorch without CUDA's libraries
#   docker build --build-arg DEVICE=cuda --tag spadework .    # NVIDIA GPUs, through the host's driver
#   docker run --rm -v "$PWD:/data" spadework synthesize --input /data/masks.parquet --out /data/images
FROM python:3.11-slim-bookworm

ARG DEVICE=cpu
# Compiled here once, or every process of every container would compile torch's sources again: seconds a start.
ENV UV_COMPILE_BYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# AOTInductor (`compile`) builds with a C++ compiler; Ray wants `ps` and `wget` for its probes.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ procps wget \
    && rm -rf /var/lib/apt/lists/*
RUN python -m pip install --no-cache-dir uv

WORKDIR /opt/spadework
COPY requirements.lock pyproject.toml README.md LICENSE ./
# The lock names CUDA's libraries, which PyTorch's CPU build has no use for.
RUN if [ "$DEVICE" = cpu ]; then \
        grep --invert-match --extended-regexp '^(nvidia-|cuda-|triton)' requirements.lock > requirements.txt \
        && uv pip install --system --no-cache --torch-backend cpu --requirement requirements.txt; \
    else \
        uv pip install --system --no-cache --requirement requirements.lock; \
    fi
COPY cli.py spadework.py ./
COPY pipeline pipeline
COPY training training
COPY evaluation evaluation
COPY configs configs
COPY weights weights
# With Ray Serve and Ray's dashboard, without which clusters take no jobs; in the lock's versions where it has them.
RUN uv pip install --system --no-cache --constraint requirements.lock '.[cluster]' && spadework --version

WORKDIR /data
ENTRYPOINT ["spadework"]
CMD ["--help"]
