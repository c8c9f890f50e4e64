package proxyserver

import "net/http"

// pingResponse is the answer of /webapi/ping and, with an empty auth part, of
// /webapi/find (docs/protocol.md, "Discovery").
type pingResponse struct {
	Auth             authSettings  `json:"auth"`
	Proxy            proxySettings `json:"proxy"`
	ServerVersion    string        `json:"server_version"`
	MinClientVersion string        `json:"min_client_version"`
	ClusterName      string        `json:"cluster_name"`
	AutomaticUpgrade bool          `json:"automatic_upgrades"`
}

type authSettings struct {
	Type              string         `json:"type"`
	SecondFactor      string         `json:"second_factor,omitempty"`
	Local             *localSettings `json:"local,omitempty"`
	PrivateKeyPolicy  string         `json:"private_key_policy"`
	DeviceTrustOff    bool           `json:"device_trust_disabled,omitempty"`
	DeviceTrust       deviceTrust    `json:"device_trust"`
	HasMOTD           bool           `json:"has_motd"`
	DefaultSessionTTL string         `json:"default_session_ttl"`
}

type localSettings struct {
	Name string `json:"name"`
}

type deviceTrust struct {
	Disabled bool `json:"disabled,omitempty"`
}

type proxySettings struct {
	Kube              kubeSettings `json:"kube"`
	SSH               sshSettings  `json:"ssh"`
	DB                dbSettings   `json:"db"`
	TLSRoutingEnabled bool         `json:"tls_routing_enabled"`
	AssistEnabled     bool         `json:"assist_enabled"`
}

type kubeSettings struct {
	Enabled    bool   `json:"enabled"`
	ListenAddr string `json:"listen_addr,omitempty"`
}

type sshSettings struct {
	ListenAddr       string `json:"listen_addr"`
	TunnelListenAddr string `json:"tunnel_listen_addr"`
	WebListenAddr    string `json:"web_listen_addr"`
	PublicAddr       string `json:"public_addr"`
}

type dbSettings struct {
	PostgresListenAddr string `json:"postgres_listen_addr"`
	MySQLListenAddr    string `json:"mysql_listen_addr"`
}

func (s *Server) find() pingResponse {
	addr := s.addr()
	kube := kubeSettings{Enabled: s.mux.Kube != nil}
	if kube.Enabled {
		kube.ListenAddr = addr
	}
	return pingResponse{
		Auth: authSettings{DefaultSessionTTL: "0s"},
		Proxy: proxySettings{
			Kube:              kube,
			SSH:               sshSettings{ListenAddr: addr, TunnelListenAddr: addr, WebListenAddr: addr, PublicAddr: addr},
			DB:                dbSettings{PostgresListenAddr: addr, MySQLListenAddr: addr},
			TLSRoutingEnabled: true,
		},
		ServerVersion:    s.opts.Behavior.Version,
		MinClientVersion: s.opts.Behavior.MinClientVersion,
		ClusterName:      s.opts.Authority.Cluster,
	}
}

func (s *Server) serveFind(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.find())
}

func (s *Server) servePing(w http.ResponseWriter, _ *http.Request) {
	p := s.find()
	p.Auth = authSettings{
		Type:              "local",
		SecondFactor:      "off",
		Local:             &localSettings{},
		PrivateKeyPolicy:  "none",
		DeviceTrustOff:    true,
		DeviceTrust:       deviceTrust{Disabled: true},
		DefaultSessionTTL: "12h0m0s",
	}
	writeJSON(w, http.StatusOK, p)
}
