package appproxy

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"
)

func TestJudge(t *testing.T) {
	for first, want := range map[string]verdict{
		"":                                 isOpen,
		"G":                                isOpen,
		"GET ":                             isOpen,
		"GET /a%20b?c":                     isOpen,
		"GET / HTT":                        isOpen,
		"GET / HTTP/1.":                    isHTTP,
		"GET / HTTP/1.1\r\nHost: x\r\n":    isHTTP,
		"OPTIONS * HTTP/1.0\r\n\r\n":       isHTTP,
		"PROPFIND http://a/ü HTTP/1.1\n":   isHTTP,
		"M-SEARCH / HTTP/1.1\r\n":          isHTTP,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n":     isOther, // gRPC
		"GET key\r\n":                      isOther, // Redis by hand
		"get key\r\n":                      isOther, // memcached
		"*1\r\n$4\r\nPING\r\n":             isOther,
		"PING\r\n":                         isOther,
		"SSH-2.0-OpenSSH_9.2p1 Debian\r":   isOther,
		"a1 LOGIN user secret\r\n":         isOther,
		"OPTIONS rtsp://h/a RTSP/1.0\r\n":  isOther,
		"GET / HTTP/0.9":                   isOther,
		"GET  / HTTP/1.1":                  isOther,
		" GET / HTTP/1.1":                  isOther,
		"\r\nGET / HTTP/1.1":               isOther,
		"\x00\x00\x00\x08\x04\xd2\x16\x2f": isOther, // PostgreSQL
		"\x16":                             isOpen,
		"\x16\x03\x01\x02\x00\x01":         isTLS,
		"\x16\x04":                         isOther,
	} {
		if got := judge([]byte(first)); got != want {
			t.Errorf("%q is %v, want %v", first, got, want)
		}
	}
}

func TestBegins(t *testing.T) {
	for first, want := range map[string]bool{
		"": false, "G": true, "GET": true, "GET ": true, "GET /hel": true, "GETX": false, "get ": false, "PING": false, "O": true,
		"PROPFIND ": false, "PRI": false, "*1": false,
	} {
		if got := begins([]byte(first)); got != want {
			t.Errorf("%q: %v", first, got)
		}
	}
}

// FuzzJudge: what net/http takes for a request of HTTP/1.x is one, and a verdict
// does not change with more bytes.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n", "\x16\x03\x01", "get a\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, first []byte) {
		last := isOpen
		for n := range len(first) + 1 {
			is := judge(first[:n])
			if last != isOpen && is != last {
				t.Fatalf("%q is %v, and with %d bytes %v", first, last, n, is)
			}
			last = is
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(first)))
		if err == nil && r.ProtoMajor == 1 && r.RequestURI != "" && !bytes.ContainsAny([]byte(r.RequestURI), " \t\v\f\r\x7f") && last != isHTTP {
			t.Errorf("%q is a request, and %v here", first, last)
		}
	})
}

func TestIsHost(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "a.example.com": true, "a.example.com:80": true, "A.example.com.": true, "my_host": true, "::1": true, "[::1]:80": true, "127.0.0.1": true,
		"": false, ":80": false, "a b": false, "https://a": false, "a/": false, "*.a": false, "ä": false, "[::g]": false, "a:b:c": false,
	} {
		if got := IsHost(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
