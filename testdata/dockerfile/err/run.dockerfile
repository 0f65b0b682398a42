FROM alpine
RUN --network=bridge x
RUN --security=none x
RUN --mount=type=bind,from=$BASE,target=/x y
RUN --mount="type=bind,""x" y
RUN --mount= y
RUN --device=a/b,c y
RUN --device=name=a/b,name=c/d y
