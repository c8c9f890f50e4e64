//go:build linux

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"tshx/internal/lab"
)

// The neutral TLS server of BenchmarkPeers: it demands a client certificate,
// picks TLS_AES_128_GCM_SHA256 for every client (as every Go server does on a
// machine with AES instructions) and does one of three things with a
// connection, as the first byte says.
const (
	upEcho   = 'e' // sends everything back
	upSink   = 's' // reads as many bytes as the next eight say, then sends one
	upSource = 'd' // sends as many bytes as the next eight say
)

// upstream is that server and the login for it.
type upstream struct {
	addr string // localhost:port
	home string // TELEPORT_HOME with a certificate for the app "echo"
	*cluster
}

// startUpstream runs the server in a process of its own, because the two ends
// of 10,000 connections are more than many systems let one process have.
func startUpstream(b *testing.B) *upstream {
	b.Helper()
	c := modern.get(b)
	cert, err := c.lab.Authority.WebCertificate("localhost")
	check(b, err)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	check(b, err)
	dir := b.TempDir()
	pair := slices.Concat(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	check(b, os.WriteFile(filepath.Join(dir, "server.pem"), pair, 0o600))
	check(b, os.WriteFile(filepath.Join(dir, "clients.pem"), c.lab.Authority.User.PEM(), 0o600))
	o := options{env: []string{upstreamDir + "=" + dir, "TSHX_BIN=" + tshxPath}}
	p := launch(b, o, os.Args[0], "-test.run=^TestBenchUpstream$", "-test.timeout=0")
	b.Cleanup(func() { p.signal(syscall.SIGKILL); p.wait() })
	u := &upstream{addr: at("localhost", p.lineAfter("address: ")), home: dir + "/home", cluster: c}
	check(b, c.lab.WriteHome(u.home, u.addr, lab.HomeOptions{}))
	return u
}

// upstreamDir is the variable that makes TestBenchUpstream the server.
const upstreamDir = "TSHX_BENCH_UPSTREAM"

// TestBenchUpstream is no test but the process that startUpstream starts.
func TestBenchUpstream(t *testing.T) {
	dir := os.Getenv(upstreamDir)
	if dir == "" {
		t.Skip("only for BenchmarkPeers")
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.pem"))
	check(t, err)
	clients, err := os.ReadFile(filepath.Join(dir, "clients.pem"))
	check(t, err)
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(clients)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"teleport-tcp"},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    cas,

		DynamicRecordSizingDisabled: true,
	})
	check(t, err)
	fmt.Println("address:", ln.Addr())
	for {
		c, err := ln.Accept()
		check(t, err)
		go func() {
			defer c.Close()
			serveUpstream(c)
		}()
	}
}

func serveUpstream(c net.Conn) {
	var mode [1]byte
	if _, err := io.ReadFull(c, mode[:]); err != nil {
		return
	}
	if mode[0] == upEcho {
		small := make([]byte, 512) // thousands of them wait at the same time
		for {
			n, err := c.Read(small)
			if n > 0 {
				c.Write(small[:n])
			}
			if err != nil {
				return
			}
		}
	}
	var size int64
	if binary.Read(c, binary.BigEndian, &size) != nil {
		return
	}
	if mode[0] == upSource {
		sendZeros(c, size)
		io.Copy(io.Discard, c) // the client ends it
		return
	}
	if readExactly(c, size) == nil {
		c.Write(mode[:])
		io.Copy(io.Discard, c)
	}
}

func readExactly(c net.Conn, size int64) error {
	buf := make([]byte, 256<<10)
	for size > 0 {
		n, err := c.Read(buf[:min(size, int64(len(buf)))])
		if size -= int64(n); err != nil && size > 0 {
			return err
		}
	}
	return nil
}

// transfer sends size bytes through a proxy, or fetches them.
func transfer(addr string, mode byte, size int64) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	ask := binary.BigEndian.AppendUint64([]byte{mode}, uint64(size))
	if _, err := c.Write(ask); err != nil {
		return err
	}
	if mode == upSource {
		return readExactly(c, size)
	}
	if err := sendZeros(c, size); err != nil {
		return err
	}
	_, err = io.ReadFull(c, ask[:1])
	return err
}

// echoer opens a connection to the echo and has one byte echoed.
func echoer(addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{upEcho, 'x'}); err != nil {
		c.Close()
		return nil, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		c.Close()
		return nil, fmt.Errorf("no echo: %w", err)
	}
	return c, nil
}
