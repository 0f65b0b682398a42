FROM alpine
RUNN make
from-scratch
copy a b
entrypont x
