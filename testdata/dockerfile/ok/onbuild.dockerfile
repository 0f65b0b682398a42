FROM alpine
ONBUILD RUN --mount=type=cache,target=/c make \
  install
onbuild   COPY . /app
ONBUILD RUNN later
