//! Path patterns of .dockerignore and of COPY/ADD wildcards
