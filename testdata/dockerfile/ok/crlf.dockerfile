FROM alpine
RUN a \
  b
COPY <<E /x
body
E
