# The image with the tests of Nexus: `make test-image` runs them in it, on the code and the libraries of the image.
ARG IMAGE
FROM docker.io/library/python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/build
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/etc/pip.crt \
    /opt/build/bin/pip install --disable-pip-version-check --no-cache-dir --target /opt/tests -c constraints.txt \
        pip '.[dev,examples]'

FROM $IMAGE
USER 0
COPY --from=build /opt/tests /opt/tests
COPY . /source
WORKDIR /source
# What is in the image comes first; what only tests import is looked for after it.
RUN packages=$(python -c "import sysconfig; print(sysconfig.get_path('purelib'))") && \
    echo /opt/tests > "$packages/tests.pth" && \
    ln -s /tmp .import_linter_cache && \
    for name in api nexus streams; do rm -r $name && ln -s "$packages/$name" $name || exit 1; done
ENV PATH=$PATH:/opt/tests/bin HOME=/tmp HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis \
    MYPY_CACHE_DIR=/tmp/mypy RUFF_CACHE_DIR=/tmp/ruff
USER 10001
# The address is a container's, and tests are for what Nexus does by itself.
ENTRYPOINT ["env", "--unset=NEXUS__HTTP__HOST", "python", "-m", "pytest", "-p", "no:cacheprovider"]
