FROM base AS one
STOPSIGNAL NOSUCH
COPY --chmod=99999 f /
RUN --mount=type=nosuch,target=/x y
ADD https://example.com/x /
FROM base AS two
EXPOSE 99999
COPY --from=one f /
USER ${WHO:?nobody}
