//go:build linux

package peer

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Balancer is a load balancer in front of one TLS server. It ends TLS with a
// certificate of its own, offers no ALPN protocol, and opens a new TLS
// connection to the server, without ALPN and without verifying anything.
type Balancer struct {
	Certificate []byte // PEM chain
	Key         []byte // PEM
	Backend     string // host:port of the TLS server behind it
	// OnlyWebSocket drops every other Upgrade header, as cloud balancers do.
	// Only Nginx knows it.
	OnlyWebSocket bool
	// NoUpgrade is the configuration of somebody who has not thought of upgrades:
	// HTTP/1.0 to the server, and no Upgrade header. Only Nginx knows it.
	NoUpgrade bool
	// SendProxy begins each connection to the server with a PROXY protocol header of
	// version 1 or 2. Zero: none. Nginx knows none, NginxStream version 1 alone.
	SendProxy int
	// ForwardedFor has HAProxyHTTP send X-Forwarded-For; Nginx always does.
	ForwardedFor bool
	// HTTP2 offers h2 to clients; only Nginx knows it.
	HTTP2 bool
	// Idle is how long a connection may carry nothing before it is cut. Zero:
	// an hour.
	Idle time.Duration
}

// Nginx runs nginx as a layer-7 balancer.
func (b Balancer) Nginx() (*Server, error) {
	if err := FindAll("nginx"); err != nil {
		return nil, err
	}
	listen := "ssl"
	if b.HTTP2 {
		listen = "ssl http2"
	}
	passes, version := "default $http_upgrade;", "1.1"
	if b.OnlyWebSocket {
		passes = "default ''; websocket websocket;"
	}
	if b.NoUpgrade {
		passes, version = "default '';", "1.0"
	}
	return blueprint{
		name:    "nginx",
		prepare: b.writeCertificate,
		argv: func(dir string, addrs []string) ([]string, error) {
			conf, err := write(dir, "nginx.conf", fmt.Sprintf(nginxConfig, dir, addrs[0], b.Backend, passes, cmp.Or(b.Idle, time.Hour).Milliseconds(), listen, version), 0o644)
			return []string{"nginx", "-e", "stderr", "-p", dir, "-c", conf}, err
		},
	}.start()
}

const nginxConfig = `daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	map $http_upgrade $passed_upgrade { %[4]s }
	map $passed_upgrade $passed_connection { default upgrade; '' close; }
	server {
		listen %[2]s %[6]s;
		ssl_certificate %[1]s/cert.pem;
		ssl_certificate_key %[1]s/key.pem;
		location / {
			proxy_pass https://%[3]s;
			proxy_http_version %[7]s;
			proxy_set_header Host $http_host;
			proxy_set_header Upgrade $passed_upgrade;
			proxy_set_header Connection $passed_connection;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_buffering off;
			proxy_read_timeout %[5]dms;
			proxy_send_timeout %[5]dms;
		}
	}
}
`

// NginxStream runs nginx as a layer-4 balancer that passes TLS on.
func (b Balancer) NginxStream() (*Server, error) {
	if err := FindAll("nginx"); err != nil {
		return nil, err
	}
	module, err := nginxModule("ngx_stream_module.so", "libnginx-mod-stream")
	if err != nil {
		return nil, err
	}
	header := "off"
	if b.SendProxy == 1 {
		header = "on"
	}
	return blueprint{
		name: "nginx",
		argv: func(dir string, addrs []string) ([]string, error) {
			conf, err := write(dir, "nginx.conf", fmt.Sprintf(nginxStream, dir, addrs[0], b.Backend, header, module), 0o644)
			return []string{"nginx", "-e", "stderr", "-p", dir, "-c", conf}, err
		},
	}.start()
}

const nginxStream = `load_module %[5]s;
daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log stderr warn;
events { worker_connections 2048; }
stream {
	server {
		listen %[2]s;
		proxy_pass %[3]s;
		proxy_protocol %[4]s;
	}
}
`

// nginxModule finds a module that is in a package of its own.
func nginxModule(name, pkg string) (string, error) {
	for _, dir := range []string{"/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules", "/usr/local/libexec/nginx"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", &MissingError{Program: name, Package: pkg}
}

// HAProxyHTTP runs HAProxy as a layer-7 balancer.
func (b Balancer) HAProxyHTTP() (*Server, error) { return b.haproxy("http") }

// HAProxyTCP runs HAProxy as a layer-4 balancer that ends TLS: it carries
// bytes, but the ALPN protocol is lost on the way.
func (b Balancer) HAProxyTCP() (*Server, error) { return b.haproxy("tcp") }

// HAProxyPass runs HAProxy as a layer-4 balancer that passes TLS on.
func (b Balancer) HAProxyPass() (*Server, error) {
	return blueprint{
		name: "haproxy",
		argv: func(dir string, addrs []string) ([]string, error) {
			conf, err := write(dir, "haproxy.cfg", fmt.Sprintf(haproxyPass, addrs[0], b.Backend, cmp.Or(b.Idle, time.Hour).Milliseconds(), b.sendProxy()), 0o644)
			return []string{"haproxy", "-db", "-f", conf}, err
		},
	}.start()
}

const haproxyPass = `global
	maxconn 2000
defaults
	mode tcp
	timeout connect 5s
	timeout client %[3]dms
	timeout server %[3]dms
listen pass
	bind %[1]s
	server lab %[2]s%[4]s
`

// sendProxy is the option of a server line of HAProxy.
func (b Balancer) sendProxy() string {
	return map[int]string{1: " send-proxy", 2: " send-proxy-v2"}[b.SendProxy]
}

func (b Balancer) haproxy(mode string) (*Server, error) {
	if err := FindAll("haproxy"); err != nil {
		return nil, err
	}
	forwarded := ""
	if b.ForwardedFor {
		forwarded = "\toption forwardfor\n"
	}
	return blueprint{
		name:    "haproxy",
		prepare: b.writeCertificate,
		argv: func(dir string, addrs []string) ([]string, error) {
			conf, err := write(dir, "haproxy.cfg", fmt.Sprintf(haproxyConfig, dir, mode, addrs[0], b.Backend, cmp.Or(b.Idle, time.Hour).Milliseconds(), b.sendProxy(), forwarded), 0o644)
			return []string{"haproxy", "-db", "-f", conf}, err
		},
	}.start()
}

const haproxyConfig = `global
	maxconn 2000
	tune.ssl.default-dh-param 2048
defaults
	mode %[2]s
	timeout connect 5s
	timeout client 1h
	timeout server 1h
	timeout tunnel %[5]dms
%[7]sfrontend front
	bind %[3]s ssl crt %[1]s/both.pem
	default_backend back
backend back
	server lab %[4]s ssl verify none%[6]s
`

func (b Balancer) writeCertificate(dir string) error {
	both := strings.TrimRight(string(b.Certificate), "\n") + "\n" + string(b.Key)
	_, err1 := write(dir, "cert.pem", string(b.Certificate), 0o644)
	_, err2 := write(dir, "key.pem", string(b.Key), 0o600)
	_, err3 := write(dir, "both.pem", both, 0o600)
	return errors.Join(err1, err2, err3)
}
