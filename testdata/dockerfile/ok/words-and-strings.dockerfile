FROM alpine
USER nobody : nogroup
WORKDIR /a/$B/c d
VOLUME /data ["x"]
VOLUME ["/data", " /trimmed "]
STOPSIGNAL SIGRTMIN+3
EXPOSE 8080/udp 80 443-445/tcp
MAINTAINER Someone <some@example.org>
