FROM alpine
ENV KEY
ENV A=1 B C=3
CMD ["a", 1]
COPY ["a", \
  null]
RUNN after
