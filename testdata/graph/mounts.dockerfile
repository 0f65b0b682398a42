FROM base AS tools
RUN install-tools

FROM base
ENV NAME=x
WORKDIR /w
RUN --mount=type=bind,source=conf,target=/conf \
    --mount=from=tools,source=/opt,target=/opt,rw \
    --mount=type=cache,id=shared,target=/cache,sharing=locked \
    --mount=type=tmpfs,target=tmp,size=16m \
    --mount=type=secret,id=token,env=TOKEN \
    --mount=type=ssh \
    --network=none \
    build $NAME
