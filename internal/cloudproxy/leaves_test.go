package cloudproxy

import (
	"crypto/tls"
	"net/http"
	"testing"

	"tshx/internal/conn"
)

// Programs trust the authority of this run for all that they do, so there are no
// certificates but for hosts of the cloud, whatever is asked for within a CONNECT to
// one.
func TestNoLeafForOthers(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) {}, nil)
	for name, want := range map[string]bool{
		"s3.amazonaws.com": true, "b.s3.eu-west-1.amazonaws.com": true,
		"example.com": false, "amazonaws.com.example.com": false, "ssmmessages.eu-west-1.amazonaws.com": false,
	} {
		c := tls.Client(w.connect("s3.amazonaws.com:443", ""), &tls.Config{ServerName: name, RootCAs: w.roots()})
		if err := c.HandshakeContext(t.Context()); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		conn.Abort(c)
	}
}
