FROM --platfrom=linux/amd64 alpine
FROM alpine
COPY --form=build a b
COPY --from=a --from=b x y
COPY --link=maybe x y
COPY --chown x y
ADD --link= x y
USER --x root
ENV --x A=1
