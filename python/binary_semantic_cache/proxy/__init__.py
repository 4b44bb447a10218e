"""The caching proxy: `bsc serve`, between programs that speak to a model and the model's API.

A request goes down through these rooms, and its answer comes back up:

    app         routes, limits, who serves what
    gateway     one request: verdict, flight, upstream, reply
    callers     whose request it is, and whether the key is known to be good
    steering    what `x-bsc-` headers ask for, within what the configuration allows
    apis        one file an API: body to `Request`, stream to answer, answer to stream
    flight      one upstream answer, read by everybody who asked for it
    upstream    the model's API over HTTP
    observe     what is told of a request, to all who watch:
    metrics, tracing, access_log, recents (on tallies, latencies)
    admin       a port of its own for whoever runs the proxy: figures, requests, changes

Needs the extra `proxy`. Trouble of the cache is a miss; only the upstream's own answers are errors.
"""
