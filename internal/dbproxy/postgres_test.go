package dbproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"tshx/internal/conn"
)

func encode(t testing.TB, m pgproto3.FrontendMessage) []byte {
	t.Helper()
	b, err := m.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPostgresCancel(t *testing.T) {
	tests := []struct {
		name   string
		first  []byte
		cancel bool
	}{
		{"cancel request", encode(t, &pgproto3.CancelRequest{ProcessID: 7, SecretKey: []byte{0, 0, 0, 9}}), true},
		{"cancel request of protocol 3.2", encode(t, &pgproto3.CancelRequest{ProcessID: 7, SecretKey: make([]byte, 32)}), true},
		{"ssl request", encode(t, &pgproto3.SSLRequest{}), false},
		{"gss request", encode(t, &pgproto3.GSSEncRequest{}), false},
		{"startup", encode(t, &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "a"}}), false},
		{"nothing", nil, false},
		{"less than a head", []byte{0, 0}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, local := net.Pipe()
			go func() { client.Write(tt.first); client.Close() }()
			replay, cancel, err := postgresCancel(local)
			if len(tt.first) < 8 {
				if !errors.Is(err, conn.ErrClientGone) {
					t.Errorf("error %v, want %v", err, conn.ErrClientGone)
				}
				return
			}
			if err != nil || cancel != tt.cancel {
				t.Fatalf("cancel = %v, %v, want %v", cancel, err, tt.cancel)
			}
			if got, err := io.ReadAll(replay); err != nil || !bytes.Equal(got, tt.first) {
				t.Errorf("replayed %x, %v, want %x", got, err, tt.first)
			}
		})
	}
}

func FuzzPostgresCancel(f *testing.F) {
	f.Add([]byte{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	f.Fuzz(func(t *testing.T, first []byte) {
		client, local := net.Pipe()
		go func() { client.Write(first); client.Close() }()
		replay, _, err := postgresCancel(local)
		if err != nil {
			if len(first) >= 8 {
				t.Fatal(err)
			}
			return
		}
		if got, _ := io.ReadAll(replay); !bytes.Equal(got, first) {
			t.Fatalf("replayed %x, want %x", got, first)
		}
	})
}
