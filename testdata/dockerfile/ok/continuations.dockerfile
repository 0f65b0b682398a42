FROM alpine
RUN one \   
  # a comment
    # and an indented one
  two \

  three
RUN a\\
RUN b \
