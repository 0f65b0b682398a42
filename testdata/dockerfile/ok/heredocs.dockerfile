FROM alpine
RUN <<EOF
#!/bin/sh
echo "# no comment" \
  second line

EOF
RUN python3 <<-'A' && cat <<B
	print("$x")
	A
text
B
RUN cat << LATER > /out
body
LATER
RUN ["cat", "<<EOF"]
ONBUILD COPY <<conf /etc/
setting=1
conf
