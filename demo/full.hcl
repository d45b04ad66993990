# Every word of the configuration, by example; `gateway check -config demo/full.hcl` accepts it as it stands. A word that
# is commented out works too, but needs something that is not everywhere. gateway.hcl is the short version.
#
# A time, a size or a number of things is the default, unless its comment says what holds when it is left out. Of several
# words that are possible the first one named in the comment is the default. Blocks, lists and names ask for nothing when left out.

# ---- the exposed port -------------------------------------------------------------------------------------

listen "0.0.0.0:5555" {
  name            = "public" # for match { listen }; the address when left out
  sniff_timeout   = "5s"     # a peer that says nothing recognisable by then is closed
  max_connections = 20000
  max_sniffing    = 2000          # connections whose protocol is not known yet
  source          = ["0.0.0.0/0"] # who may connect; everybody when left out
  # tls {                       # terminates TLS, for all clients; what is inside is told apart again. ZeroMQ has its own CURVE.
  #   # A client that offers both HTTP/2 and HTTP/1.1, as browsers do, gets HTTP/1.1 where a sockjs block exists, else HTTP/2.
  #   cert      = "edge.crt"    # PEM: the chain, its own certificate first; read again when the file changes
  #   key       = "edge.key"
  #   client_ca = "clients.pem" # clients need a certificate from there; none when left out; the same for the whole listener
  # }
  # tls {                       # another certificate, for clients that ask for a name that it bears; the first is for the rest
  #   cert      = "edge-too.crt"
  #   key       = "edge-too.key"
  #   client_ca = "clients.pem"
  # }
  proxy_protocol {
    trust = ["192.0.2.10/32"] # each connection from there must begin with a PROXY header, v1 or v2; from elsewhere none may
  }
}

listen "127.0.0.1:5557" { # several are possible; every block serves every listener unless it says otherwise
  name = "inside"
}

listen "unix:///run/gateway/edge.sock" { # who may connect is up to the permissions of its directory
  name = "local"
  proxy_protocol {} # here everybody is trusted
}

limits {                    # a source is an IPv4 address or an IPv6 /64; what a trusted proxy tells counts, on a unix socket nothing does
  per_source     = 1000     # connections; any number when left out
  new_per_source = 200      # connections a second, as many at once; any number when left out
  held           = 500      # ZeroMQ clients refused or not wanted: kept silent, since libzmq comes back ten times a second
  buffers        = "256MiB" # that all relays together may hold for peers that do not keep up; as much again all grpc blocks, and each zmq block
}

# ---- where calls can go -----------------------------------------------------------------------------------

backend "greeter" {
  grpc    = ["127.0.0.1:50051", "dns:///greeter.internal:50051", "srv:///greeter.internal"] # also unix:///path; names are looked up again
  balance = "least_request"                                                                 # least_request, round_robin, ring_hash
  # hash_key = "x-user"                                                                       # of ring_hash: the same value, the same target
  authority = "greeter.example" # the caller's own when left out
  health    = "demo.v1.Greeter" # targets are asked for it by grpc.health.v1; one that is not SERVING gets no calls
  # tls {                       # the gateway checks the certificate of each target, by authority or the target's host
  #   ca   = "backend-ca.pem"   # the system's when left out
  #   cert = "gateway.crt"      # shown to targets that ask
  #   key  = "gateway.key"
  # }
}

backend "greeter_next" {
  grpc = ["unix:///run/greeter-next.sock"]
}

backend "greeter_zmq" {                                             # a ZeroMQ service
  zmq         = ["tcp://127.0.0.1:5560", "ipc:///run/greeter.sock"] # where it binds; also unix:///path
  socket      = "DEALER"                                            # what the gateway plays, a must: DEALER, REQ, PUSH, SUB
  hwm         = 1000                                                # messages queued for each connection, and calls in flight
  max_message = "16MiB"
  payload     = "proto" # "proto": one frame is the message; "json"; "envelope": all frames are one gateway.v1.Multipart
  # topic_field      = 1               # with SUB: the field of a call's request in which the topic is
  # descriptors      = "greeter.binpb" # for json: protoc --include_imports --descriptor_set_out
  # curve_server_key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7" # CURVE towards the service; without it NULL
  # curve_secret_key = file("gateway.secret")                     # the gateway's own key, for a service that checks clients
}

# ---- ZeroMQ in, calls out ---------------------------------------------------------------------------------
# Each message of a client becomes a call, answered by a gRPC or a ZeroMQ backend. Without a method, messages go to
# ZeroMQ backends as they are. zmq and relay blocks stand in one order: the first that fits takes the connection.

zmq "greet" { # old clients, new service
  match {
    socket_type = ["REQ"] # when left out, all that fit the socket
    identity    = "v1-"   # how the routing id begins
    listen      = ["public"]
    # protocol  = "zmtp"
    # source    = ["10.0.0.0/8"]
    # percent   = 10
    # sni       = ["zmq.example"]
    # mechanism = ["NULL"] # follows from keys and users
  }
  socket      = "REP" # what the gateway plays, a must: REP, ROUTER (several requests of a client at a time), PULL, PUB
  method      = "/demo.v1.Greeter/SayHello"
  payload     = "proto" # "proto": one frame is the message; "json"; "envelope": all frames are one gateway.v1.Multipart
  timeout     = "30s"   # then the client gets an error; every request gets an answer
  hwm         = 1000    # replies that wait for a client, and a ROUTER client's requests at a time
  max_message = "16MiB"
  to "greeter" {
    weight = 99 # equal shares where no block has one
  }
  to "greeter_zmq" {
    weight = 1
  }
  mirror "greeter_next" {   # a copy of each call; its reply is compared, never returned
    percent = 25            # of the calls; all when left out
    compare = "proto"       # bytes, proto; nothing is compared when left out
    ignore  = ["served_by"] # fields that may differ; "outer.inner"
    samples = 3             # of differing replies, in /status; none when left out
    # descriptors = "greeter.binpb" # without it the backend's reflection
  }
  # retry {
  #   attempts = 2
  #   on       = ["UNAVAILABLE"]
  #   budget   = 0.2
  #   backoff  = "25ms"
  # }
}

zmq "news" { # a server stream for each topic that a client subscribes to
  socket      = "PUB"
  method      = "/demo.v1.Greeter/SayHelloServerStream"
  topic_field = 1 # the field of the request that takes the topic
  to "greeter" {}
  # stream = true # with ROUTER: one bidirectional call for each client; with PULL: one client stream
  # curve_secret_key = file("news.secret")  # terminates CURVE when a client's HELLO opens with this key; else the next block has it
  # curve_clients    = "clients.keys"       # the public keys of those that may
  # plain_users      = "users.txt"          # NAME:PASSWORD a line; terminates PLAIN
  # descriptors      = "greeter.binpb"      # for json; without it the backend's reflection
}

# ---- bytes, untouched -------------------------------------------------------------------------------------
# A connection goes to the first relay or zmq block, in file order, whose match fits. One that nothing can reach is an error at load.

relay "telemetry" { # the gateway dials one connection per client
  match {
    protocol = "zmtp" # when left out; http1, http2, tls, ssh, any
    listen   = ["public"]
    source   = ["10.0.0.0/8", "fd00::/8"]
    percent  = 90 # of sources, sticky, counted alike in every block; the rest falls through; all when left out
    # What a ZMTP client shows once its greeting is answered. The gateway answers only as far as a block needs.
    mechanism   = ["NULL"]         # NULL, PLAIN, CURVE: seen without holding any key
    socket_type = ["PUSH", "PAIR"] # NULL clients alone show it
    identity    = "legacy-"        # how the routing id begins; NULL clients alone show it
  }
  dial            = ["tcp://127.0.0.1:3333", "unix:///run/pull.sock", "ipc:///run/pull-too.sock"]
  balance         = "least_connections" # least_connections, round_robin
  idle_timeout    = "1h"                # never when left out
  connect_timeout = "5s"                # then the next target is tried
  proxy_protocol  = "v2"                # tells the target the client's address first; nothing when left out
}

relay "vault" { # workers connect in, wait, and are paired one to one with clients
  match {
    listen    = ["inside"]
    mechanism = ["CURVE"] # a client costs a worker only after a well-formed first command; left out: any, unseen
  }
  workers {
    listen   = "127.0.0.1:5556"
    source   = ["127.0.0.0/8"] # who may connect as a worker; a must on other addresses
    agents   = true            # also `gateway agent`; no when left out
    max_wait = "22s"           # retire a libzmq worker before its own handshake timer does; "0s" = never
    # token  = env("AGENT_TOKEN") # what agents must know
    # tls {                       # agents must speak TLS, and check this certificate; read again when the file changes
    #   cert = "door.crt"
    #   key  = "door.key"
    # }
  }
  wait              = "20s"    # how long a client may wait for a worker
  max_waiting       = 1000     # clients; one more is kept silent
  handshake_timeout = "10s"    # then the worker is free again
  affinity          = "source" # none, source, identity (NULL): the same client meets the same worker again, with fallbacks
  affinity_wait     = "1s"     # how long to wait for a busy favourite
}

relay "telemetry_next" {
  dial = ["tcp://127.0.0.1:3334"]
}

relay "pages" { # TLS goes through as it is, by the name that the client asks for; elsewhere, or with tls { }, others are ended here
  match {
    protocol = "tls"
    sni      = ["www.example", "*.pages.example"] # any name, or none, when left out; with another protocol: inside tls { }
  }
  dial = ["tcp://127.0.0.1:8443"]
}

relay "ssh" { # any other detected protocol can be relayed too
  match {
    protocol = "ssh"
  }
  dial = ["tcp://127.0.0.1:22"]
}

# ---- gRPC in, gRPC out ------------------------------------------------------------------------------------
# A call goes to the most specific grpc block: a full method, then a service, then "*".

grpc "/demo.v1.Greeter/SayHello" {
  match {
    metadata = { "x-tenant" = "blue", "x-user" = "a*", "x-trace" = "*" } # the value, how it begins, any; other calls go on below
  }
  timeout        = "2s"    # the caller's own deadline counts if it is earlier; that alone when left out
  max_message    = "16MiB" # either way
  wait_for_ready = true    # calls wait for a backend that cannot be reached; they end UNAVAILABLE when left out
  rate           = 5000    # calls a second, more end RESOURCE_EXHAUSTED; any number when left out
  max_concurrent = 2000    # calls in flight; any number when left out
  to "greeter" {
    weight = 90
  }
  to "greeter_next" {
    weight = 10
  }
  retry {                      # until a response has begun, and while a call is no larger than 256 KiB
    attempts = 3               # the first included; a must
    on       = ["UNAVAILABLE"] # statuses; this one when left out
    budget   = 0.2             # of calls in flight may be retries; three always may
    backoff  = "25ms"          # before the first retry, then twice as long each time
  }
  mirror "greeter_next" {   # gets a copy of each call, unary or server streaming; its answer is compared, never returned
    percent = 25            # of the calls; all when left out
    compare = "proto"       # bytes, proto; nothing is compared when left out
    ignore  = ["served_by"] # fields that may differ; "outer.inner"
    # descriptors = "greeter.binpb" # a FileDescriptorSet; the backends' reflection when left out
    samples = 5 # of answers that differ, shown in /status with what was in them; none when left out
  }
  set_metadata    = { "x-gateway" = "edge" }
  remove_metadata = ["x-internal"]
}

grpc "/demo.v1.Greeter/*" {
  to "greeter" {
    weight = 9
  }
  to "greeter_zmq" { # any route can go to a ZeroMQ service
    weight = 1
  }
}

grpc "*" {
  to "greeter_next" {}
}

# ---- browsers in, ZeroMQ out ------------------------------------------------------------------------------
# Browsers talk SockJS or WebSocket below the path; programs get and send messages of three parts: type, session, data.

sockjs "/chat" {
  push    = "tcp://127.0.0.1:9241" # bound; programs pull here: connect, message, disconnect
  pull    = "tcp://127.0.0.1:9242" # bound; programs push here: message, disconnect, broadcast
  connect = false                  # true: connect to these addresses instead of binding them
  hwm     = 1000                   # messages that wait for each program; then browsers' sending waits
  # curve_secret_key = file("gateway.secret") # programs must come by CURVE, or, with connect, know this gateway
  # curve_clients    = "programs.keys"        # the public keys of those that may
  # curve_server_key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7" # with connect: the key of the programs
  max_message      = "64KiB" # of a browser
  max_sessions     = 10000
  send_buffer      = "1MiB" # what waits for one browser; one that does not read is disconnected
  heartbeat        = "25s"
  disconnect_delay = "5s"   # without a request of the browser; then it has gone
  no_peer          = "wait" # wait, refuse: what becomes of new browsers while no program is there
  origins          = ["*"]  # of pages that may connect, as in "https://app.example" or "https://*.example"; all when left out
  client_address   = true   # tell programs, in the data of connect, as JSON; no when left out
  client_headers   = ["User-Agent"]
  cookie           = false # JSESSIONID, for a load balancer in front
  websocket        = true
  static           = "browser" # a folder of files served below the path
}

# ---- seeing and steering ----------------------------------------------------------------------------------

admin {
  listen = "127.0.0.1:9901" # or unix:///run/gateway.sock; on other addresses a token is a must
  # token = env("ADMIN_TOKEN") # or file("admin.token"), relative to this file
  pprof = false # true: Go profiles below /debug/pprof/, as `go tool pprof` reads them
}

telemetry {
  otlp  = "http://127.0.0.1:4318" # a collector that takes OTLP over HTTP: a span for each gRPC call and each ZeroMQ message that becomes one
  ratio = 0.1                     # of calls whose caller has not decided by its traceparent; 1 when left out
}

meter {
  file = "meter.json" # who spoke ZeroMQ, and when, outlives a restart; see gateway migration
}

log {
  format = "text" # text, json
  level  = "info" # info, debug, warn, error
}

drain_timeout = "30s" # how long connections may go on after a stop
