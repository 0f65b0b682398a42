From alpine
Run mkdir /tmp/logs
wOrKdIr /tmp/logs
eXPOSE 80
