// Command kubelet-stub is a node of Kubernetes with one running pod whose
// container is this machine: exec runs programs here, port-forward dials
// 127.0.0.1, attach and logs are about one process that runs from the start. It
// registers both and then serves the part of the kubelet's API that the API
// server asks for streams, by the kubelet's own library for it.
//
//	kubelet-stub -kubeconfig admin.yaml -listen 127.0.0.1:10250 -cert tls.crt
//	  -key tls.key -client-ca ca.crt -node node -pod box -log box.log [COMMAND...]
//
// COMMAND is the process to attach to, cat if there is none. Its output goes to
// the file of -log, which others may write to as well.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	kubeconfig, listen, cert, key, clientCA string
	node, pod, log, dir                     string
	command                                 []string
}

func main() {
	var s settings
	flag.StringVar(&s.kubeconfig, "kubeconfig", "", "`file` of somebody who may create nodes and pods")
	flag.StringVar(&s.listen, "listen", "127.0.0.1:10250", "`address` to listen on")
	flag.StringVar(&s.cert, "cert", "", "`file` of our certificate")
	flag.StringVar(&s.key, "key", "", "`file` of its key")
	flag.StringVar(&s.clientCA, "client-ca", "", "`file` of the CAs of the API server's client certificate")
	flag.StringVar(&s.node, "node", "node", "`name` of the node")
	flag.StringVar(&s.pod, "pod", "box", "`name` of the pod in the default namespace, and of its container")
	flag.StringVar(&s.log, "log", "", "`file` of the container's output")
	flag.StringVar(&s.dir, "dir", "", "`directory` that exec starts in")
	flag.Parse()
	s.command = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "kubelet-stub:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. It listens only once the pod is there.
func run(ctx context.Context, s settings) error {
	config, err := s.tls()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(s.listen)
	if err != nil {
		return err
	}
	c, err := startContainer(s)
	if err != nil {
		return err
	}
	if err := register(ctx, s, port); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	srv := &http.Server{Addr: s.listen, Handler: handler(s.pod, c), TLSConfig: config, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// tls lets in only who has a certificate of the client CA: exec is a shell.
func (s settings) tls() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(s.clientCA)
	if err != nil {
		return nil, err
	}
	cas := x509.NewCertPool()
	if !cas.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", s.clientCA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: cas, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}
