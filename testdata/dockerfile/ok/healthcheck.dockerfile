FROM alpine
HEALTHCHECK none
HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2s --start-interval=0 --retries=3 CMD wget -q localhost || exit 1
HEALTHCHECK --interval= CMD ["/check", "-q"]
