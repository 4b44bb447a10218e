"""The caching proxy: `bsc serve`, between programs that speak to a model and the model's API.

A request goes down through these rooms, and its answer comes back up:

    app         routes, limits, who serves what
    gateway     requests to the cached APIs, each a `turn`; `passing` has all others
    callers     whose request it is, and whether the key is known to be good
    steering    what `x-bsc-` headers ask for, within what the configuration allows
    verdicts    the cache, asked from an event loop
    apis        one file an API: body to `Request`, stream to answer, answer to stream
    flight      one upstream answer, read by everybody who asked for it
    upstream    the model's API over HTTP, by `clients`
    exchange    what is noted of a request on its way; `observe` what is told of it at its end

Around them:

    watching        metrics, traces, access log, recent requests
    admin           a port of its own for whoever runs the proxy: figures, requests, changes
    configuration   file, environment and options to `settings`
    processes       sockets, workers, signals, start and end
    demo            a small model's API to try it with

Needs the extra `proxy`. Trouble of the cache is a miss; only the upstream's own answers are errors.
"""
