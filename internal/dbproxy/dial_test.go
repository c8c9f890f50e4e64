package dbproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"tshx/internal/conn"
	"tshx/internal/tlsroute"
)

func TestCheck(t *testing.T) {
	hangup := conn.Stats{RemoteFirst: true}
	sent := func(n int64) conn.Stats { s := hangup; s.Sent = n; return s }
	tests := []struct {
		name   string
		engine *Engine
		stats  conn.Stats
		want   error
	}{
		{"no answer", &postgres, sent(80), ErrNoAnswer},
		{"cancel request", &postgres, sent(16), nil},
		{"as long as a cancel request", &redis, sent(16), ErrNoAnswer},
		{"said nothing", &postgres, hangup, nil},
		{"client left first", &postgres, conn.Stats{Sent: 80}, nil},
		{"no greeting", &mysql, hangup, ErrNoAnswer},
		{"answered", &postgres, conn.Stats{Sent: 80, Received: 1, RemoteFirst: true}, nil},
	}
	for _, tt := range tests {
		if err := (&Upstream{Engine: tt.engine}).Check(tt.stats); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// In plain mode, too, a certificate that cannot be shown is told before the
// proxy refuses it.
func TestDialLooksAtTheCertificate(t *testing.T) {
	expired := errors.New("expired")
	for _, e := range []*Engine{&postgres, &mysql, &redis} {
		client, local := net.Pipe()
		up := &Upstream{
			Engine: e, Cert: func() (*tls.Certificate, error) { return nil, expired },
			Dialer: dialFunc(func(context.Context, tlsroute.Route) (net.Conn, error) {
				t.Error("dialled")
				return nil, expired
			}),
		}
		if e == &postgres {
			go client.Write(encode(t, &pgproto3.SSLRequest{}))
		}
		if cl, _, err := up.Dial(t.Context(), local); !errors.Is(err, expired) || cl == nil {
			t.Errorf("%s: %v, %v", e.Title, cl, err)
		}
		client.Close()
		local.Close()
	}
}
