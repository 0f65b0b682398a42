FROM base
USER web:staff
WORKDIR /srv/site/
COPY --chown=web --exclude=*.tmp --exclude=!keep.tmp pages/*.html static ./
COPY --link --from=0x/assets:1 /a /assets/
COPY --parents src/./lib/**/*.js /js
ADD --unpack=false archive.tar .
ADD archive.tar /data
COPY <<ONE <<-"TWO" /etc/site/
user=$USER path=$PATH \$literal
ONE
	indented $literal
TWO
