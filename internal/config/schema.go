package config

import "github.com/hashicorp/hcl/v2"

// The structs below are the language: every block and argument, for gohcl. Arguments stay unevaluated here, so that
// each is read by its own rule (a duration, a size, a list of targets) and keeps its place in the file.

type fileSchema struct {
	Listen       []listenSchema   `hcl:"listen,block"`
	Backend      []backendSchema  `hcl:"backend,block"`
	Relay        []relaySchema    `hcl:"relay,block"`
	ZMQ          []zmqSchema      `hcl:"zmq,block"`
	GRPC         []grpcSchema     `hcl:"grpc,block"`
	SockJS       []sockJSSchema   `hcl:"sockjs,block"`
	Limits       *limitsSchema    `hcl:"limits,block"`
	Meter        *meterSchema     `hcl:"meter,block"`
	Admin        *adminSchema     `hcl:"admin,block"`
	Telemetry    *telemetrySchema `hcl:"telemetry,block"`
	Log          *logSchema       `hcl:"log,block"`
	DrainTimeout *hcl.Attribute   `hcl:"drain_timeout,optional"`
}

type listenSchema struct {
	Addr           string         `hcl:"address,label"`
	AddrRange      hcl.Range      `hcl:"address,label_range"`
	Name           *hcl.Attribute `hcl:"name,optional"`
	SniffTimeout   *hcl.Attribute `hcl:"sniff_timeout,optional"`
	MaxConnections *hcl.Attribute `hcl:"max_connections,optional"`
	MaxSniffing    *hcl.Attribute `hcl:"max_sniffing,optional"`

	Source *hcl.Attribute    `hcl:"source,optional"`
	Proxy  *proxySchema      `hcl:"proxy_protocol,block"`
	TLS    []listenTLSSchema `hcl:"tls,block"`
}

type listenTLSSchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	Cert     *hcl.Attribute `hcl:"cert,optional"`
	Key      *hcl.Attribute `hcl:"key,optional"`
	ClientCA *hcl.Attribute `hcl:"client_ca,optional"`
}

type proxySchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	Trust    *hcl.Attribute `hcl:"trust,optional"`
}

type backendSchema struct {
	Name      string         `hcl:"name,label"`
	NameRange hcl.Range      `hcl:"name,label_range"`
	DefRange  hcl.Range      `hcl:",def_range"`
	GRPC      *hcl.Attribute `hcl:"grpc,optional"`
	Balance   *hcl.Attribute `hcl:"balance,optional"`
	Authority *hcl.Attribute `hcl:"authority,optional"`

	ZMQ            *hcl.Attribute `hcl:"zmq,optional"`
	Socket         *hcl.Attribute `hcl:"socket,optional"`
	HWM            *hcl.Attribute `hcl:"hwm,optional"`
	MaxMessage     *hcl.Attribute `hcl:"max_message,optional"`
	Payload        *hcl.Attribute `hcl:"payload,optional"`
	TopicField     *hcl.Attribute `hcl:"topic_field,optional"`
	Descriptors    *hcl.Attribute `hcl:"descriptors,optional"`
	CurveServerKey *hcl.Attribute `hcl:"curve_server_key,optional"`
	CurveSecretKey *hcl.Attribute `hcl:"curve_secret_key,optional"`

	HashKey *hcl.Attribute    `hcl:"hash_key,optional"`
	Health  *hcl.Attribute    `hcl:"health,optional"`
	TLS     *backendTLSSchema `hcl:"tls,block"`
}

type relaySchema struct {
	Name           string         `hcl:"name,label"`
	NameRange      hcl.Range      `hcl:"name,label_range"`
	DefRange       hcl.Range      `hcl:",def_range"`
	Match          *matchSchema   `hcl:"match,block"`
	Dial           *hcl.Attribute `hcl:"dial,optional"`
	Balance        *hcl.Attribute `hcl:"balance,optional"`
	IdleTimeout    *hcl.Attribute `hcl:"idle_timeout,optional"`
	ConnectTimeout *hcl.Attribute `hcl:"connect_timeout,optional"`
	ProxyProtocol  *hcl.Attribute `hcl:"proxy_protocol,optional"`

	Workers          *workersSchema `hcl:"workers,block"`
	Wait             *hcl.Attribute `hcl:"wait,optional"`
	MaxWaiting       *hcl.Attribute `hcl:"max_waiting,optional"`
	HandshakeTimeout *hcl.Attribute `hcl:"handshake_timeout,optional"`
	Affinity         *hcl.Attribute `hcl:"affinity,optional"`
	AffinityWait     *hcl.Attribute `hcl:"affinity_wait,optional"`
}

type workersSchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	Listen   *hcl.Attribute `hcl:"listen,optional"`
	Source   *hcl.Attribute `hcl:"source,optional"`
	Agents   *hcl.Attribute `hcl:"agents,optional"`
	MaxWait  *hcl.Attribute `hcl:"max_wait,optional"`
	Token    *hcl.Attribute `hcl:"token,optional"`
	TLS      *tlsSchema     `hcl:"tls,block"`
}

type tlsSchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	Cert     *hcl.Attribute `hcl:"cert,optional"`
	Key      *hcl.Attribute `hcl:"key,optional"`
}

type matchSchema struct {
	Protocol   *hcl.Attribute `hcl:"protocol,optional"`
	Listen     *hcl.Attribute `hcl:"listen,optional"`
	Source     *hcl.Attribute `hcl:"source,optional"`
	Percent    *hcl.Attribute `hcl:"percent,optional"`
	SNI        *hcl.Attribute `hcl:"sni,optional"`
	Mechanism  *hcl.Attribute `hcl:"mechanism,optional"`
	SocketType *hcl.Attribute `hcl:"socket_type,optional"`
	Identity   *hcl.Attribute `hcl:"identity,optional"`
}

type limitsSchema struct {
	PerSource    *hcl.Attribute `hcl:"per_source,optional"`
	NewPerSource *hcl.Attribute `hcl:"new_per_source,optional"`
	Held         *hcl.Attribute `hcl:"held,optional"`
	Buffers      *hcl.Attribute `hcl:"buffers,optional"`
}

type zmqSchema struct {
	Name       string         `hcl:"name,label"`
	NameRange  hcl.Range      `hcl:"name,label_range"`
	DefRange   hcl.Range      `hcl:",def_range"`
	Match      *matchSchema   `hcl:"match,block"`
	Socket     *hcl.Attribute `hcl:"socket,optional"`
	Method     *hcl.Attribute `hcl:"method,optional"`
	Stream     *hcl.Attribute `hcl:"stream,optional"`
	Payload    *hcl.Attribute `hcl:"payload,optional"`
	TopicField *hcl.Attribute `hcl:"topic_field,optional"`
	Timeout    *hcl.Attribute `hcl:"timeout,optional"`
	HWM        *hcl.Attribute `hcl:"hwm,optional"`
	MaxMessage *hcl.Attribute `hcl:"max_message,optional"`

	CurveSecretKey *hcl.Attribute `hcl:"curve_secret_key,optional"`
	CurveClients   *hcl.Attribute `hcl:"curve_clients,optional"`
	PlainUsers     *hcl.Attribute `hcl:"plain_users,optional"`
	Descriptors    *hcl.Attribute `hcl:"descriptors,optional"`

	To     []toSchema     `hcl:"to,block"`
	Mirror []mirrorSchema `hcl:"mirror,block"`
	Retry  *retrySchema   `hcl:"retry,block"`
}

type grpcSchema struct {
	Pattern        string           `hcl:"pattern,label"`
	PatternRange   hcl.Range        `hcl:"pattern,label_range"`
	DefRange       hcl.Range        `hcl:",def_range"`
	Timeout        *hcl.Attribute   `hcl:"timeout,optional"`
	MaxMessage     *hcl.Attribute   `hcl:"max_message,optional"`
	WaitForReady   *hcl.Attribute   `hcl:"wait_for_ready,optional"`
	Rate           *hcl.Attribute   `hcl:"rate,optional"`
	MaxConcurrent  *hcl.Attribute   `hcl:"max_concurrent,optional"`
	SetMetadata    *hcl.Attribute   `hcl:"set_metadata,optional"`
	RemoveMetadata *hcl.Attribute   `hcl:"remove_metadata,optional"`
	Match          *callMatchSchema `hcl:"match,block"`
	Retry          *retrySchema     `hcl:"retry,block"`
	Mirror         []mirrorSchema   `hcl:"mirror,block"`
	To             []toSchema       `hcl:"to,block"`
}

type backendTLSSchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	CA       *hcl.Attribute `hcl:"ca,optional"`
	Cert     *hcl.Attribute `hcl:"cert,optional"`
	Key      *hcl.Attribute `hcl:"key,optional"`
}

type callMatchSchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	Metadata *hcl.Attribute `hcl:"metadata,optional"`
}

type retrySchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	Attempts *hcl.Attribute `hcl:"attempts,optional"`
	On       *hcl.Attribute `hcl:"on,optional"`
	Budget   *hcl.Attribute `hcl:"budget,optional"`
	Backoff  *hcl.Attribute `hcl:"backoff,optional"`
}

type mirrorSchema struct {
	Backend      string         `hcl:"backend,label"`
	BackendRange hcl.Range      `hcl:"backend,label_range"`
	Percent      *hcl.Attribute `hcl:"percent,optional"`
	Compare      *hcl.Attribute `hcl:"compare,optional"`
	Ignore       *hcl.Attribute `hcl:"ignore,optional"`
	Descriptors  *hcl.Attribute `hcl:"descriptors,optional"`
	Samples      *hcl.Attribute `hcl:"samples,optional"`
}

type toSchema struct {
	Backend      string         `hcl:"backend,label"`
	BackendRange hcl.Range      `hcl:"backend,label_range"`
	Weight       *hcl.Attribute `hcl:"weight,optional"`
}

type sockJSSchema struct {
	Prefix      string         `hcl:"prefix,label"`
	PrefixRange hcl.Range      `hcl:"prefix,label_range"`
	DefRange    hcl.Range      `hcl:",def_range"`
	Push        *hcl.Attribute `hcl:"push,optional"`
	Pull        *hcl.Attribute `hcl:"pull,optional"`
	Connect     *hcl.Attribute `hcl:"connect,optional"`
	HWM         *hcl.Attribute `hcl:"hwm,optional"`

	CurveSecretKey *hcl.Attribute `hcl:"curve_secret_key,optional"`
	CurveClients   *hcl.Attribute `hcl:"curve_clients,optional"`
	CurveServerKey *hcl.Attribute `hcl:"curve_server_key,optional"`

	MaxMessage      *hcl.Attribute `hcl:"max_message,optional"`
	MaxSessions     *hcl.Attribute `hcl:"max_sessions,optional"`
	SendBuffer      *hcl.Attribute `hcl:"send_buffer,optional"`
	Heartbeat       *hcl.Attribute `hcl:"heartbeat,optional"`
	DisconnectDelay *hcl.Attribute `hcl:"disconnect_delay,optional"`
	NoPeer          *hcl.Attribute `hcl:"no_peer,optional"`

	Origins       *hcl.Attribute `hcl:"origins,optional"`
	ClientAddress *hcl.Attribute `hcl:"client_address,optional"`
	ClientHeaders *hcl.Attribute `hcl:"client_headers,optional"`
	Cookie        *hcl.Attribute `hcl:"cookie,optional"`
	WebSocket     *hcl.Attribute `hcl:"websocket,optional"`
	Static        *hcl.Attribute `hcl:"static,optional"`
}

type meterSchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	File     *hcl.Attribute `hcl:"file,optional"`
}

type adminSchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	Listen   *hcl.Attribute `hcl:"listen,optional"`
	Token    *hcl.Attribute `hcl:"token,optional"`
	Pprof    *hcl.Attribute `hcl:"pprof,optional"`
}

type telemetrySchema struct {
	DefRange hcl.Range      `hcl:",def_range"`
	OTLP     *hcl.Attribute `hcl:"otlp,optional"`
	Ratio    *hcl.Attribute `hcl:"ratio,optional"`
}

type logSchema struct {
	Format *hcl.Attribute `hcl:"format,optional"`
	Level  *hcl.Attribute `hcl:"level,optional"`
}
