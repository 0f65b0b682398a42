FROM alpine
ENV A=1 B="two words" C='it''s' D=a\ b E=
ENV LEGACY  value with   blanks "and quotes"
LABEL org.example.title="A \
title" org.example.x=$A
ARG one two=2 three="3 4"
