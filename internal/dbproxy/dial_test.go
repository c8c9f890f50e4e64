package dbproxy

import (
	"errors"
	"testing"

	"tshx/internal/conn"
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
