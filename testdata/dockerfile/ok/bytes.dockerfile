# syntax=a b
FROM alpine
LABEL spät="한"
RUN echo �
