package dbproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"tshx/internal/tlsroute"
)

func TestCheck(t *testing.T) {
	cancel := encode(t, &pgproto3.CancelRequest{SecretKey: make([]byte, 4)})
	long := encode(t, &pgproto3.CancelRequest{SecretKey: make([]byte, 256)}) // of protocol 3.2
	tests := []struct {
		name   string
		engine *Engine
		head   []byte
		want   error
	}{
		{"no answer", &postgres, startup(t), ErrNoAnswer},
		{"cancel request", &postgres, cancel, nil},
		{"cancel request with a long key", &cockroachdb, long, nil},
		{"half a cancel request", &postgres, long[:20], ErrNoAnswer},
		{"as long as a cancel request", &postgres, startup(t)[:16], ErrNoAnswer},
		{"a cancel request elsewhere", &redis, cancel, ErrNoAnswer},
		{"said nothing", &postgres, nil, nil},
		{"a few bytes", &postgres, cancel[:3], ErrNoAnswer},
		{"no greeting", &mysql, nil, ErrNoAnswer},
	}
	for _, tt := range tests {
		if err := (&Upstream{Engine: tt.engine}).Check(tt.head); !errors.Is(err, tt.want) {
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
