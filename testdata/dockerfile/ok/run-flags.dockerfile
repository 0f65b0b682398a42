FROM alpine
RUN --network=none --security=insecure --mount=type=cache,target=/root/.cache,sharing=locked make
RUN --mount=type=secret,id=token,env=TOKEN,required --mount="type=bind,from=build,target=/a b,rw" true
RUN --mount=type=$KIND,target=/x -- --not-a-flag
RUN --mount=type=tmpfs,target=/t,size=64m --mount=type=ssh,mode=0600,uid=1000 git fetch
RUN --device=vendor.example/gpu=all,required nvidia-smi
