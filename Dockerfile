# rnn for the CPU. Untested: no container engine ran where this file was written.
#   docker build --tag rnn .
#   docker run --rm --interactive --tty --volume "$PWD:/work" --user "$(id -u):$(id -g)" rnn train parity
FROM python:3.13-slim

RUN pip install --no-cache-dir uv
COPY . /source
RUN uv pip install --system --no-cache --torch-backend cpu --constraint /source/constraints.txt /source \
    && rm -r /source

# The user may be any number: what numba, matplotlib and rnn keep for themselves goes to a folder that all can write.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["rnn"]
CMD ["--help"]
