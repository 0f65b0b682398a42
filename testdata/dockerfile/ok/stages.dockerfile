# BASE the image everything rests on
ARG BASE=alpine
ARG VERSION MIRROR="a b"
# build compiles the program
FROM --platform=$BUILDPLATFORM ${BASE}:${VERSION:-3} AS Build
ARG BASE
FROM scratch
COPY --from=build /out/ /
FROM 0 as last.stage-2
