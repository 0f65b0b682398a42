FROM base
MAINTAINER someone
ENV A=1 B="two words"
LABEL a=$A "b c"=d
EXPOSE 443 80-82/udp
VOLUME ["/data", "/more data"]
STOPSIGNAL SIGRTMIN+3
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f http://localhost/
CMD echo "$A" | cat
ENTRYPOINT ["/entry", "\t"]
ONBUILD RUN x
