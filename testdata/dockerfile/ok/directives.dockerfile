# syntax=docker/dockerfile:1
# CHECK = skip=JSONArgsRecommended;error=true
# escape=`

# Not a directive any more: escape=\
FROM mcr.example/base
WORKDIR C:\tools\
RUN dir `
    # between two lines
    C:\tools
