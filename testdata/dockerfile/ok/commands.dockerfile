FROM alpine
RUN
RUN   two  spaces   inside  
RUN ["exec", "form \u00e4 \"q\""]
RUN ['not', 'json']
RUN ["trailing"] text
CMD []
CMD echo $HOME
ENTRYPOINT [ "/bin/tool" , "-v" ]
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
