package conn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tcpPair returns both ends of one loopback TCP connection.
func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func serverTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func tlsPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	a, b := tcpPair(t)
	server := tls.Server(b, serverTLS(t))
	client := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- server.HandshakeContext(t.Context()) }()
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client, server
}

// bufferedPair puts read-ahead wrappers, which must change nothing, on TCP.
func bufferedPair(t testing.TB) (net.Conn, net.Conn) {
	a, b := tcpPair(t)
	if _, err := b.Write([]byte("head")); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(a, head); err != nil {
		t.Fatal(err)
	}
	w := Buffered(a, head)
	head[0] = 'X' // the wrapper must have its own copy
	got := make([]byte, 4)
	if _, err := io.ReadFull(w, got); err != nil || string(got) != "head" {
		t.Fatalf("read-ahead = %q, %v", got, err)
	}
	return w, b
}

var pairs = map[string]func(testing.TB) (net.Conn, net.Conn){"tcp": tcpPair, "tls": tlsPair, "buffered": bufferedPair, "batched": batchedPair, "nested": nestedPair}

type result struct {
	Stats
	err error
}

// spliced joins a client's connection to a server's and returns the two far
// ends and the splice's result.
func spliced(t *testing.T, ctx context.Context, pair func(testing.TB) (net.Conn, net.Conn)) (client, server Stream, done chan result) {
	t.Helper()
	c, local := tcpPair(t)
	remote, s := pair(t)
	done = make(chan result, 1)
	go func() {
		st, err := Splice(ctx, local, remote)
		done <- result{st, err}
	}()
	return c.(Stream), s.(Stream), done
}
