FROM alpine
RUN <<EOF
never ended
 EOF
