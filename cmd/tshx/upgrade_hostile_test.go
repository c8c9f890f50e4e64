package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
)

// escape is what a terminal obeys, in its two forms.
const escape = "\x1b[2J\x1b]0;owned\x07\u009b31m"

// What a hostile server sends, in its certificate and its answers, reaches neither
// the terminal nor the form of the JSON.
func TestUpgradeTestHostile(t *testing.T) {
	addr := hostileServer(t)
	appsEnv(t, filepath.Join(t.TempDir(), "none"))
	for _, flags := range [][]string{nil, {"--insecure"}} {
		for _, format := range []string{"text", "json"} {
			code, out, talk := runLine(t, append(flags, "upgrade", "test", "--format", format, addr)...)
			if code != exitFailure {
				t.Errorf("%s: exit code %d: %s", format, code, talk)
			}
			bad := func(r rune) bool { return unicode.IsControl(r) && r != '\n' || r == unicode.ReplacementChar }
			if i := strings.IndexFunc(out+talk, bad); i >= 0 {
				t.Errorf("%s: %q", format, out+talk)
			}
			var doc map[string]any
			if err := json.Unmarshal([]byte(out), &doc); format == "json" && err != nil {
				t.Errorf("%v in %s", err, out)
			}
			if !strings.Contains(out, "owned") { // else nothing was shown
				t.Errorf("%s: %s", format, out)
			}
		}
	}
}

// hostileServer answers upgrades and all else with escape sequences wherever there
// is a place for them.
func hostileServer(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cn" + escape, Organization: []string{escape}},
		DNSNames: []string{"name" + strings.TrimSuffix(escape, "\u009b31m")}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	answer := func(conn net.Conn) {
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		head := "\r\nServer: s" + escape + "\r\nLocation: https://x" + escape + "/\r\n"
		switch r.Header.Get("Upgrade") {
		case "alpn":
			io.WriteString(conn, "HTTP/1.1 101 "+escape+head+"Connection: Upgrade\r\nUpgrade: "+escape+"\r\n\r\n")
		case "alpn-ping":
			io.WriteString(conn, "HTTP/1.1 404 "+escape+head+"Connection: close\r\n\r\n{\"error\":{\"message\":\"m\\u001b[2J\u009b"+escape[4:]+"\"}}")
		default:
			io.WriteString(conn, "HTTP/1.1 403 "+escape+head+"Connection: close\r\n\r\n<title>t"+escape+"\xff</title>")
		}
	}
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { answer(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}
