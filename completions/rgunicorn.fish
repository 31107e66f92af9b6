complete -c rgunicorn -s c -l config -d 'Config file: PATH, file:PATH or python:MODULE. [./gunicorn.conf.py]' -r -F
complete -c rgunicorn -s b -l bind -d 'Addresses to listen on. [[127.0.0.1:8000]]' -r -f
complete -c rgunicorn -l backlog -d 'How many connections may wait in the kernel to be accepted. [2048]' -r -f
complete -c rgunicorn -s w -l workers -d 'How many worker processes to keep running. [1]' -r -f
complete -c rgunicorn -s k -l worker-class -d 'What kind of worker serves requests. [sync]' -r -f
complete -c rgunicorn -l threads -d 'Threads that serve requests in each gthread worker. [1]' -r -f
complete -c rgunicorn -l worker-connections -d 'How many client connections one worker holds at most. [1000]' -r -f
complete -c rgunicorn -l max-requests -d 'Replace a worker after this many requests; 0: never. [0]' -r -f
complete -c rgunicorn -l max-requests-jitter -d 'Add a random number up to this to max_requests, drawn for each worker. [0]' -r -f
complete -c rgunicorn -s t -l timeout -d 'Seconds of silence after which a worker is given up; 0: never. [30]' -r -f
complete -c rgunicorn -l graceful-timeout -d 'Seconds that requests in progress get at a stop or reload. [30]' -r -f
complete -c rgunicorn -l keep-alive -d 'Seconds an idle connection is kept for the next request; 0: not at all. [2]' -r -f
complete -c rgunicorn -l asgi-loop -d 'Event loop of asgi workers: auto, asyncio or uvloop. [auto]' -r -f -a "auto\t''
asyncio\t''
uvloop\t''"
complete -c rgunicorn -l asgi-lifespan -d 'Whether asgi workers run the lifespan protocol: auto, on or off. [auto]' -r -f -a "auto\t''
on\t''
off\t''"
complete -c rgunicorn -l asgi-disconnect-grace-period -d 'Seconds an ASGI app may go on after its client has left. [3]' -r -f
complete -c rgunicorn -l websocket-max-message-size -d 'Largest WebSocket message in bytes; 0: no limit. [16777216]' -r -f
complete -c rgunicorn -l http-parser -d 'Gunicorn\'s choice of HTTP/1 parser; accepted and without meaning here. [auto]' -r -f -a "auto\t''
fast\t''
python\t''"
complete -c rgunicorn -l limit-request-line -d 'Longest request line in bytes, at most 8190; 0 stands for 1 MiB. [4094]' -r -f
complete -c rgunicorn -l limit-request-fields -d 'Most header fields a request may have; 0 or more than 32768 mean 32768. [100]' -r -f
complete -c rgunicorn -l limit-request-field_size -d 'Longest header field in bytes; 0 means 8190. [8190]' -r -f
complete -c rgunicorn -l reload-engine -d 'How reload notices changes: auto, poll or inotify. [auto]' -r -f -a "auto\t''
poll\t''
inotify\t''"
complete -c rgunicorn -l reload-extra-file -d 'More files that reload watches: templates, translations, specifications. [none]' -r -F
complete -c rgunicorn -l chdir -d 'Enter this directory before the app is loaded. [.]' -r -f -a "(__fish_complete_directories)"
complete -c rgunicorn -s e -l env -d 'Environment variables for the app, each NAME=VALUE. [none]' -r -f
complete -c rgunicorn -s p -l pid -d 'Write the pid of the master to this file. [not set]' -r -F
complete -c rgunicorn -l worker-tmp-dir -d 'Gunicorn\'s directory for heartbeat files; accepted and not needed here. [not set]' -r -f -a "(__fish_complete_directories)"
complete -c rgunicorn -s u -l user -d 'User that workers switch to: a name or a number. [user that starts it]' -r -f -a "(__fish_complete_users)"
complete -c rgunicorn -s g -l group -d 'Group that workers switch to: a name or a number. [group of that user]' -r -f
complete -c rgunicorn -s m -l umask -d 'Mode bits to take away from unix sockets that the server makes. [0o0]' -r -f
complete -c rgunicorn -l pythonpath -d 'Directories to put in front of sys.path, divided by commas. [not set]' -r -f
complete -c rgunicorn -l paste -l paster -d 'Serve the app of a PasteDeploy file: FILE or FILE#NAME. [not set]' -r -f
complete -c rgunicorn -l paste-global -d 'Global variables for the PasteDeploy file, each NAME=VALUE. [none]' -r -f
complete -c rgunicorn -l forwarded-allow-ips -d 'Addresses and networks of proxies whose header fields are believed. [127.0.0.1,::1]' -r -f
complete -c rgunicorn -l proxy-protocol -d 'Expect the PROXY protocol: off, v1, v2 or auto. [off]' -r -f -a "off\t''
v1\t''
v2\t''
auto\t''"
complete -c rgunicorn -l proxy-allow-from -d 'Addresses and networks that may speak the PROXY protocol. [127.0.0.1,::1]' -r -f
complete -c rgunicorn -l protocol -d 'Protocol of incoming connections: http or uwsgi. [http]' -r -f -a "http\t''
uwsgi\t''"
complete -c rgunicorn -l uwsgi-allow-from -d 'Addresses and networks that may speak the uwsgi protocol. [127.0.0.1,::1]' -r -f
complete -c rgunicorn -l forwarder-headers -d 'Header fields with an underscore that trusted proxies may send all the same. [SCRIPT_NAME,PATH_INFO]' -r -f
complete -c rgunicorn -l header-map -d 'What to do with header names with underscores: drop, refuse or dangerous. [drop]' -r -f -a "drop\t''
refuse\t''
dangerous\t''"
complete -c rgunicorn -l root-path -d 'Path below which a proxy mounts the ASGI app. [empty]' -r -f
complete -c rgunicorn -l access-logfile -d 'Write the access log to this file; - is stdout. Without it there is none. [not set]' -r -F
complete -c rgunicorn -l access-logformat -d 'What a line of the access log holds. [%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"]' -r -f
complete -c rgunicorn -l error-logfile -l log-file -d 'Write the error log to this file; - is stderr. [-]' -r -F
complete -c rgunicorn -l log-level -d 'Least severe level that the error log holds. [info]' -r -f -a "debug\t''
info\t''
warning\t''
error\t''
critical\t''"
complete -c rgunicorn -l logger-class -d 'Python class that writes the logs, as a dotted name. [gunicorn.glogging.Logger]' -r -f
complete -c rgunicorn -l log-config -d 'Set Python\'s logging up from this INI file (logging.config.fileConfig). [not set]' -r -F
complete -c rgunicorn -l log-config-json -d 'Read the dict for Python\'s logging from this JSON file. [not set]' -r -F
complete -c rgunicorn -l log-syslog-to -d 'Where syslog listens. [udp://localhost:514]' -r -f
complete -c rgunicorn -l log-syslog-prefix -d 'Name of the program in syslog, in place of the process name. [not set]' -r -f
complete -c rgunicorn -l log-syslog-facility -d 'Facility of syslog messages. [user]' -r -f
complete -c rgunicorn -l statsd-host -d 'Send metrics to StatsD at HOST:PORT or unix://PATH. [not set]' -r -f
complete -c rgunicorn -l dogstatsd-tags -d 'Tags to add to every metric, divided by commas. [empty]' -r -f
complete -c rgunicorn -l statsd-prefix -d 'What names of metrics start with. [empty]' -r -f
complete -c rgunicorn -s n -l name -d 'Name that stands in the titles of the server\'s processes. [not set]' -r -f
complete -c rgunicorn -l keyfile -d 'Private key for TLS, in PEM. [not set]' -r -F
complete -c rgunicorn -l certfile -d 'Certificate chain for TLS, in PEM; it may hold the key too. [not set]' -r -F
complete -c rgunicorn -l ssl-version -d 'Ignored, as in Gunicorn, where ssl_context has replaced it. [2]' -r -f
complete -c rgunicorn -l cert-reqs -d 'Certificate of the client: 0 none, 1 optional, 2 required. [0]' -r -f
complete -c rgunicorn -l ca-certs -d 'Authorities whose client certificates are accepted, in PEM. [not set]' -r -F
complete -c rgunicorn -l ciphers -d 'Ciphers for TLS 1.2 and older, as an OpenSSL cipher list. [not set]' -r -f
complete -c rgunicorn -l http-protocols -d 'HTTP versions to offer, h1 and h2, the preferred one first. [h1]' -r -f
complete -c rgunicorn -l http2-cleartext -d 'HTTP/2 without TLS: off, prior-knowledge, upgrade or both. [off]' -r -f -a "off\t''
prior-knowledge\t''
upgrade\t''
both\t''"
complete -c rgunicorn -l http2-max-concurrent-streams -d 'Requests that one HTTP/2 connection may have open at once. [100]' -r -f
complete -c rgunicorn -l http2-initial-window-size -d 'Bytes that an HTTP/2 peer may send on a stream before it waits for credit. [65535]' -r -f
complete -c rgunicorn -l http2-max-frame-size -d 'Largest HTTP/2 frame that is accepted, 16384 to 16777215 bytes. [16384]' -r -f
complete -c rgunicorn -l http2-max-header-list-size -d 'Most bytes of header fields in an HTTP/2 request; 0: no limit. [65536]' -r -f
complete -c rgunicorn -l dirty-app -d 'Apps for long jobs, each MODULE:CLASS or MODULE:CLASS:WORKERS. [none]' -r -f
complete -c rgunicorn -l dirty-workers -d 'How many processes run dirty_apps; 0: none. [0]' -r -f
complete -c rgunicorn -l dirty-timeout -d 'Seconds after which a long job is given up; 0: never. [300]' -r -f
complete -c rgunicorn -l dirty-threads -d 'Threads in each process of dirty_workers. [1]' -r -f
complete -c rgunicorn -l dirty-graceful-timeout -d 'Seconds that long jobs in progress get at a stop. [30]' -r -f
complete -c rgunicorn -l control-socket -d 'Unix socket by which a running server can be asked and told things. [$XDG_RUNTIME_DIR/gunicorn.ctl or $HOME/.gunicorn/gunicorn.ctl]' -r -F
complete -c rgunicorn -l control-socket-mode -d 'Permission bits of control_socket. [0o600]' -r -f
complete -c rgunicorn -l python -d 'The Python interpreter that runs the app: a path, or a name on $PATH. [not set]' -r -F
complete -c rgunicorn -l reload-surge -d 'How many workers more than workers there may be during a reload. [1]' -r -f
complete -c rgunicorn -l boot-timeout -d 'Seconds that a worker may take to get ready. [0]' -r -f
complete -c rgunicorn -l drain-delay -d 'Seconds that the server goes on taking connections after a TERM. [0]' -r -f
complete -c rgunicorn -l max-rss -d 'Memory of a worker above which it is replaced; 0 means no limit. [0]' -r -f
complete -c rgunicorn -l max-rss-jitter -d 'A random part of this is added to max_rss, for each worker another one. [0]' -r -f
complete -c rgunicorn -l max-lifetime -d 'Seconds after which a worker is replaced; 0 means never. [0]' -r -f
complete -c rgunicorn -l max-lifetime-jitter -d 'A random part of this is added to max_lifetime, for each worker another one. [0]' -r -f
complete -c rgunicorn -l request-head-timeout -d 'Seconds that a client has to send a request\'s head; 0 means no limit. [30]' -r -f
complete -c rgunicorn -l limit-request-body -d 'Most bytes of a request\'s body; 0 means no limit. [0]' -r -f
complete -c rgunicorn -l request-buffer -d 'Bytes of a request\'s body that are read before the app is called. [1048576]' -r -f
complete -c rgunicorn -l response-buffer -d 'Bytes of a response that are kept for a slow client before the app waits. [1048576]' -r -f
complete -c rgunicorn -l request-timeout -d 'Seconds that one request may take, in any worker class; 0 means no limit. [0]' -r -f
complete -c rgunicorn -l max-queue-wait -d 'Seconds that a request may wait for a worker; 0 means no limit. [0]' -r -f
complete -c rgunicorn -s h -l help -d 'Print this help and exit'
complete -c rgunicorn -s v -l version -d 'Print the version and exit'
complete -c rgunicorn -l reload -d 'Restart workers when the code of the app changes; for development. [False]'
complete -c rgunicorn -l spew -d 'Print every line of Python that is executed. [False]'
complete -c rgunicorn -l check-config -d 'Check the configuration, import the app, and exit: 0 if both are right, else 1. [False]'
complete -c rgunicorn -l print-config -d 'Print every setting with its final value, then go on as check_config does. [False]'
complete -c rgunicorn -l preload -d 'Import the app once, before workers are forked. [False]'
complete -c rgunicorn -l no-sendfile -d 'Send files with sendfile(2); the flag turns that off. [not set]'
complete -c rgunicorn -l reuse-port -d 'Set SO_REUSEPORT on the listening sockets. [False]'
complete -c rgunicorn -s D -l daemon -d 'Detach from the terminal and run in the background. [False]'
complete -c rgunicorn -l initgroups -d 'Give workers all groups that user is a member of, besides group. [False]'
complete -c rgunicorn -l permit-obsolete-folding -d 'Accept header fields that go on in the next line. [False]'
complete -c rgunicorn -l strip-header-spaces -d 'Accept blanks between the name of a header field and its colon. [False]'
complete -c rgunicorn -l permit-unconventional-http-method -d 'Accept methods with lower case letters, with #, or of unusual length. [False]'
complete -c rgunicorn -l permit-unconventional-http-version -d 'Accept HTTP versions other than 1.0 and 1.1 in the request line. [False]'
complete -c rgunicorn -l casefold-http-method -d 'Turn methods into upper case. [False]'
complete -c rgunicorn -l disable-redirect-access-to-syslog -d 'Keep the access log out of syslog. [False]'
complete -c rgunicorn -l capture-output -d 'Send what the app prints to the file of errorlog. [False]'
complete -c rgunicorn -l log-syslog -d 'Send logs to syslog too. [False]'
complete -c rgunicorn -s R -l enable-stdio-inheritance -d 'With daemon, keep stdout and stderr if they are no terminals. [False]'
complete -c rgunicorn -l enable-backlog-metric -d 'Send how many connections wait to be accepted as a metric. [False]'
complete -c rgunicorn -l suppress-ragged-eofs -d 'Take a TLS connection that ends without a goodbye for a plain end. [True]'
complete -c rgunicorn -l do-handshake-on-connect -d 'Do the TLS handshake as soon as a connection is accepted. [False]'
complete -c rgunicorn -l no-control-socket -d 'Open no control socket. [False]'
complete -c rgunicorn -l explain-config -d 'Print each value that is no default, where it was set, and what it overrode. [False]'
