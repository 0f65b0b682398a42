FROM alpine
COPY a b c /dest/
COPY --from=0 --chown=1000:1000 --chmod=0644 --link --parents --exclude=*.md --exclude=.git ["with blank", "/d/"]
ADD --keep-git-dir=true --checksum=sha256:00 https://example.org/x.git /src
ADD --unpack=false archive.tar.gz /
COPY <<one <<-"two" existing /dest/
first $A
one
	second $B
	two
