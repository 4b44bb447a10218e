"""What a request costs on its way through `bsc serve`, over loopback, against doing without it."""
