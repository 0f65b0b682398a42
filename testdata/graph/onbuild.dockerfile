FROM onbuild AS child
ONBUILD RUN again
FROM child
RUN <<EOF
#!/usr/bin/env python3
print("hello")
EOF
RUN cat <<A
text
A
