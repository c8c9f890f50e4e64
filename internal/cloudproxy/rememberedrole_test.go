package cloudproxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Looking at an answer of STS takes nothing from it, however long it is, and
// remembers a role of an answer to AssumeRole only, which is short and says 200.
func TestRememberedOfAnswer(t *testing.T) {
	good := fmt.Sprintf(assumeRoleAnswer, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	for _, tt := range []struct {
		name   string
		body   string
		status int
		length int64
		want   bool
	}{
		{"role", good, 200, -1, true},
		{"role, of known length", good, 200, int64(len(good)), true},
		{"refused", good, 403, -1, false},
		{"long", good + strings.Repeat(" ", maxAssumeBody), 200, -1, false},
		{"long, as it says", good + strings.Repeat(" ", maxAssumeBody), 200, int64(len(good) + maxAssumeBody), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &assumed{now: time.Now}
			closed := false
			res := &http.Response{StatusCode: tt.status, Header: http.Header{}, ContentLength: tt.length,
				Body: &closing{Reader: strings.NewReader(tt.body), closed: &closed}}
			if err := a.remember(res, 1); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != tt.body {
				t.Errorf("%d of %d bytes are left, %v", len(got), len(tt.body), err)
			}
			if res.Body.Close(); !closed {
				t.Error("the connection is not given back")
			}
			if role, ok := a.find("ASIAROLE"); ok != tt.want || ok && role.app != 1 {
				t.Errorf("remembered: %v, for app %d", ok, role.app)
			}
		})
	}
}

// closing tells when it is closed.
type closing struct {
	io.Reader
	closed *bool
}

func (c *closing) Close() error { *c.closed = true; return nil }
