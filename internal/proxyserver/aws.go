package proxyserver

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tshx/internal/identity"
)

// AWS is an account at Amazon that an app acts for. Clients sign with keys that
// are good for nothing; requests go on signed with those in here.
type AWS struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // of temporary keys; else empty
	// Region is signed for in place of the one that the client names. Empty: the
	// client's.
	Region string
	// Endpoints are where requests go in place of Amazon's hosts, for tests: URLs
	// by the service that is signed for ("s3", "sts"); "" is for all others. A
	// request for a service without one goes to the host that the client names.
	Endpoints map[string]string
	// TLS verifies the endpoints. Nil: the system's authorities.
	TLS *tls.Config
}

// awsHostsMax bounds how many of Amazon's hosts have connections kept.
const awsHostsMax = 64

// awsBackend is the account of one app.
type awsBackend struct {
	server      *Server
	app, region string
	credentials aws.Credentials
	tls         *tls.Config
	endpoints   map[string]*httpBackend // by service

	mu    sync.Mutex
	hosts map[string]*httpBackend // Amazon's own
}

// makeAWS sets up the apps that are AWS accounts.
func (s *Server) makeAWS() error {
	s.aws = make(map[string]*awsBackend)
	for _, a := range s.opts.Apps {
		if a.AWS == nil {
			continue
		}
		b, err := s.newAWSBackend(a.Name, *a.AWS)
		if err != nil {
			return fmt.Errorf("app %q: aws: %w", a.Name, err)
		}
		s.aws[a.Name] = b
	}
	return nil
}

func (s *Server) newAWSBackend(app string, o AWS) (*awsBackend, error) {
	if o.AccessKeyID == "" || o.SecretAccessKey == "" {
		return nil, errors.New("needs an access key id and its secret")
	}
	b := &awsBackend{
		server: s, app: app, region: o.Region, tls: o.TLS,
		credentials: aws.Credentials{AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey, SessionToken: o.SessionToken},
		endpoints:   make(map[string]*httpBackend), hosts: make(map[string]*httpBackend),
	}
	for service, endpoint := range o.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, err
		}
		if u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("endpoint %q is no URL of a server", endpoint)
		}
		b.endpoints[service] = s.newHTTPBackend(kindApp, app, u, o.TLS)
	}
	return b, nil
}

func (b *awsBackend) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, list := range []map[string]*httpBackend{b.endpoints, b.hosts} {
		for _, h := range list {
			h.close()
		}
	}
}

// to returns where requests for an AWS host go.
func (b *awsBackend) to(service, host string) *httpBackend {
	for _, name := range []string{service, ""} {
		if e := b.endpoints[name]; e != nil {
			return e
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[host]
	if h == nil {
		if len(b.hosts) >= awsHostsMax {
			for _, old := range b.hosts {
				old.close()
			}
			clear(b.hosts)
		}
		h = b.server.newHTTPBackend(kindApp, b.app, &url.URL{Scheme: "https", Host: host}, b.tls)
		b.hosts[host] = h
	}
	return h
}

// serveAWS signs a request anew and sends it to Amazon.
func (s *Server) serveAWS(w http.ResponseWriter, r *http.Request, id identity.Identity, a App) {
	c, err := s.awsCall(r, id, a)
	if err != nil {
		s.refused("app "+a.Name, clientAddr(r.Context()), err)
		writeAWSError(w, r, "", err)
		return
	}
	s.log.Debug("aws request", "app", a.Name, "user", id.User, "role", cmp.Or(c.assumed, id.App.AWSRoleARN),
		"method", r.Method, "host", c.host, "service", c.signature.service)
	f := &forward{
		httpBackend: c.to(c.signature.service, c.host), client: r, prepare: c.prepare,
		refuse: func(w http.ResponseWriter, err error) { writeAWSError(w, r, c.signature.service, err) },
	}
	f.serve(w)
}

// Headers between the two halves (docs/protocol.md, "AWS").
const (
	headerForwardedHost = "X-Forwarded-Host"
	headerAssumedRole   = "X-Teleport-Aws-Assumed-Role"
	headerAssumedAuth   = "X-Teleport-Aws-Assumed-Role-Authorization"
)

// awsCall is one request.
type awsCall struct {
	*awsBackend
	client    *http.Request
	host      string       // of Amazon's, with the port if it is not 443
	notAfter  time.Time    // of the client's certificate
	signature awsSignature // the client's
	auth      string       // its Authorization
	// assumed is the role whose temporary keys the client has signed with. They
	// are real and its own: AWS gave them to it. Empty: it signed with throw-away
	// ones.
	assumed string
}

// awsCall checks a request. Its errors are of type *awsError.
func (s *Server) awsCall(r *http.Request, id identity.Identity, a App) (*awsCall, error) {
	if id.App.AWSRoleARN == "" {
		return nil, awsDenied("the client certificate of app %q names no AWS role: log in to the app with one", a.Name)
	}
	hosts := r.Header.Values(headerForwardedHost)
	if len(hosts) != 1 || !isAWSHost(hosts[0]) {
		return nil, awsInvalid("%s names no AWS host: %q", headerForwardedHost, hosts)
	}
	c := &awsCall{
		awsBackend: s.aws[a.Name], client: r, host: strings.TrimSuffix(hosts[0], ":443"), notAfter: r.TLS.PeerCertificates[0].NotAfter,
		assumed: r.Header.Get(headerAssumedRole), auth: r.Header.Get("Authorization"),
	}
	if c.assumed != "" {
		c.auth = r.Header.Get(headerAssumedAuth)
		// Who has signed both of them has to have them right.
		if c.host = hosts[0]; r.Host != c.host {
			return nil, awsInvalid("host %q is not that of %s: %q", r.Host, headerForwardedHost, c.host)
		}
	}
	var err error
	if c.signature, err = parseAWSSignature(c.auth); err != nil {
		return nil, &awsError{http.StatusForbidden, "IncompleteSignature", err}
	}
	return c, nil
}

// awsDomains are those of Amazon's APIs, in all partitions that are open.
var awsDomains = []string{
	"amazonaws.com", "api.aws", "amazonaws.com.cn", "api.amazonwebservices.com.cn", "amazonaws.eu", "api.amazonwebservices.eu",
}

// isAWSHost reports whether a host, with or without a port, is one of Amazon's.
func isAWSHost(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = name
	}
	host = strings.ToLower(host)
	if strings.ContainsFunc(host, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-_", r)
	}) {
		return false
	}
	return slices.ContainsFunc(awsDomains, func(domain string) bool {
		return host == domain || strings.HasSuffix(host, "."+domain)
	})
}
