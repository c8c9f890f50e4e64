package lab

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"

	"tshx/internal/egress"
	"tshx/internal/proxyserver"
	"tshx/internal/reversetunnel"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// Files of an agent's identity.
const (
	agentFile     = "agent.yaml"
	agentKey      = "ssh_host_key"
	agentCert     = "ssh_host_key-cert.pub"
	agentHostKeys = "ssh_host_ca.pub" // authorities of the proxies' host keys
	agentHostCA   = "host_ca.pem"     // of their certificates inside an upgrade
	agentWebCA    = "web_ca.pem"      // of the certificate in front; may be missing
)

// envTunnelAddr names another address for agents than the announced one
// (docs/protocol.md, "HTTP proxies").
const envTunnelAddr = "TELEPORT_TUNNEL_PUBLIC_ADDR"

// agentRoles lets an agent serve all kinds.
const agentRoles = "Node,Db,App,Kube"

// agentMeta is the content of agentFile.
type agentMeta struct {
	HostID  string `yaml:"host_id"`
	Cluster string `yaml:"cluster"`
	Proxy   string `yaml:"proxy"` // host:port
}

// WriteAgent writes the identity of an agent that finds the proxy at proxyAddr.
// Written over an older one it is a new one of the same host.
func (l *Lab) WriteAgent(dir, proxyAddr string) error {
	meta := agentMeta{HostID: proxyserver.NewHostID(), Cluster: l.config.Cluster, Proxy: proxyAddr}
	var old agentMeta
	if b, err := os.ReadFile(filepath.Join(dir, agentFile)); err == nil && yaml.Unmarshal(b, &old) == nil {
		meta.HostID = cmp.Or(old.HostID, meta.HostID)
	}
	key, cert, err := l.Authority.SSHHostKey(agentRoles, meta.HostID, meta.HostID+"."+meta.Cluster)
	if err != nil {
		return err
	}
	keyPEM, err := marshalKey(key, true)
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(meta)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, modeDir); err != nil {
		return err
	}
	if err := os.Chmod(dir, modeDir); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		agentKey:      keyPEM,
		agentCert:     ssh.MarshalAuthorizedKey(cert),
		agentHostKeys: ssh.MarshalAuthorizedKey(l.Authority.SSHHost.PublicKey()),
		agentHostCA:   l.Authority.Host.PEM(),
		agentWebCA:    l.Authority.Web.PEM(),
		agentFile:     text,
	} {
		if err := write(filepath.Join(dir, name), modeSecret, content); err != nil {
			return fmt.Errorf("write agent %s: %w", dir, err)
		}
	}
	return nil
}

// AgentIdentity is an agent's identity on disk, read anew for each tunnel, and the
// way to the proxy that it names.
type AgentIdentity struct {
	Dir    string
	Proxy  string // host:port; empty: the one of the environment, or of the identity
	CAFile string // of CAs for the certificate in front of the proxy besides; may be empty
	Getenv func(string) string
	Log    *slog.Logger

	mu     sync.Mutex
	webCA  []byte
	addr   string
	dialer *tlsroute.Dialer // for webCA and addr
}

// ErrNoAgentIdentity says that a directory holds no identity of an agent.
var ErrNoAgentIdentity = errors.New("holds no identity of an agent: tshx-lab up --agent-dir writes one")

func (i *AgentIdentity) read(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(i.Dir, name))
}

func (i *AgentIdentity) meta() (agentMeta, error) {
	var m agentMeta
	b, err := i.read(agentFile)
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("%s %w", i.Dir, ErrNoAgentIdentity)
	}
	if err != nil {
		return m, err
	}
	if err := yaml.Unmarshal(b, &m); err != nil || m.HostID == "" || m.Cluster == "" {
		return m, fmt.Errorf("%s: is no identity of an agent", filepath.Join(i.Dir, agentFile))
	}
	return m, nil
}

// Addr returns the address of the proxy.
func (i *AgentIdentity) Addr() (string, error) {
	m, err := i.meta()
	if err != nil {
		return "", err
	}
	addr := cmp.Or(i.Proxy, i.getenv(envTunnelAddr), m.Proxy)
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return "", fmt.Errorf("address of the proxy: %q is no host:port", addr)
	}
	return addr, nil
}

// Load reads the identity.
func (i *AgentIdentity) Load() (reversetunnel.Identity, error) {
	none := reversetunnel.Identity{}
	m, err := i.meta()
	if err != nil {
		return none, err
	}
	id := reversetunnel.Identity{HostID: m.HostID, Cluster: m.Cluster}
	if id.Signer, err = i.signer(); err != nil {
		return none, err
	}
	keys, err := i.read(agentHostKeys)
	if err != nil {
		return none, err
	}
	for len(bytes.TrimSpace(keys)) > 0 {
		var key ssh.PublicKey
		if key, _, _, keys, err = ssh.ParseAuthorizedKey(keys); err != nil {
			return none, fmt.Errorf("%s: %w", filepath.Join(i.Dir, agentHostKeys), err)
		}
		id.Authorities = append(id.Authorities, key)
	}
	return id, nil
}

func (i *AgentIdentity) signer() (ssh.Signer, error) {
	keyPEM, err := i.read(agentKey)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(i.Dir, agentKey), err)
	}
	line, err := i.read(agentCert)
	if err != nil {
		return nil, err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(line)
	cert, ok := pub.(*ssh.Certificate)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: is no certificate", filepath.Join(i.Dir, agentCert))
	}
	return ssh.NewCertSigner(cert, key)
}

// Dial opens a connection to the proxy for a tunnel.
func (i *AgentIdentity) Dial(ctx context.Context) (net.Conn, error) {
	addr, err := i.Addr()
	if err != nil {
		return nil, err
	}
	webCA, err := i.WebCAs()
	if err != nil {
		return nil, err
	}
	return i.dialerFor(addr, webCA).Dial(ctx, reversetunnel.Route())
}

// WebCAs returns the CAs (PEM) for the certificate in front of the proxy, besides
// the system's.
func (i *AgentIdentity) WebCAs() ([]byte, error) {
	own, err := i.read(agentWebCA)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if i.CAFile == "" {
		return own, nil
	}
	more, err := os.ReadFile(i.CAFile)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(more) {
		err = fmt.Errorf("%s holds no PEM certificate", i.CAFile)
	}
	return slices.Concat(own, []byte("\n"), more), err
}

// dialerFor keeps the dialer, which knows the way to the proxy, until it is to
// another one.
func (i *AgentIdentity) dialerFor(addr string, webCA []byte) *tlsroute.Dialer {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dialer != nil && i.addr == addr && bytes.Equal(i.webCA, webCA) {
		return i.dialer
	}
	i.addr, i.webCA = addr, webCA
	var roots *x509.CertPool
	if len(webCA) > 0 {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM(webCA)
	}
	out := &egress.Dialer{Getenv: i.getenv, Roots: roots}
	i.dialer = &tlsroute.Dialer{
		Finder: &tlsroute.Finder{
			Target: upgrade.Target{Addr: addr, Dial: out.DialContext, Roots: roots}, Getenv: i.getenv, Log: i.Log,
		},
		HostCAs: i.hostCAs,
		Log:     i.Log,
	}
	return i.dialer
}

func (i *AgentIdentity) hostCAs() (*x509.CertPool, error) {
	text, err := i.read(agentHostCA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: holds no certificate", filepath.Join(i.Dir, agentHostCA))
	}
	return pool, nil
}

func (i *AgentIdentity) getenv(name string) string {
	if i.Getenv == nil {
		return ""
	}
	return strings.TrimSpace(i.Getenv(name))
}
