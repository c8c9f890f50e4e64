package proxyserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Clients tell by the status whether Amazon did not answer in time or could not be
// reached; to HEAD there is no body.
func TestAWSWayErrors(t *testing.T) {
	for _, tt := range []struct {
		method string
		err    error
		status int
		code   string
	}{
		{"GET", fmt.Errorf("dial: %w", context.DeadlineExceeded), http.StatusGatewayTimeout, "GatewayTimeout"},
		{"GET", errors.New("connection refused"), http.StatusBadGateway, "BadGateway"},
		{"HEAD", errors.New("connection refused"), http.StatusBadGateway, ""},
		{"GET", awsDenied("no"), http.StatusForbidden, "AccessDenied"},
	} {
		w := httptest.NewRecorder()
		writeAWSError(w, httptest.NewRequest(tt.method, "/", nil), "s3", tt.err)
		if body := w.Body.String(); w.Code != tt.status || tt.code == "" && body != "" || !strings.Contains(body, tt.code) {
			t.Errorf("%v: %d %s", tt.err, w.Code, body)
		}
	}
}
