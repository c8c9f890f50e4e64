package cloudproxy

import (
	"errors"
	"net/http"
	"testing"
)

// A redirect to the access proxy's login would be followed by programs, to a page
// in HTML. Those of the cloud itself, such as to a bucket's region, are theirs.
func TestAnswersOfTheProxy(t *testing.T) {
	for _, tt := range []struct {
		status       int
		header, text string
		want         int // of the answer; zero: it is the cloud's
	}{
		{302, "Location", "https://proxy.example.com/web/launch/app.example.com", 401},
		{302, "Location", "https://proxy.example.com:3080/web/login?redirect_uri=x", 401},
		{302, "Location", "/web/login", 401},
		{307, "Location", "https://app.example.com/x-teleport-auth", 401},
		{307, "Location", "https://b.s3.eu-central-1.amazonaws.com/k", 0},
		{301, "Location", "https://b.s3.amazonaws.com/web", 0},
		{304, "", "", 0},
		{403, headerAPIError, "no such role", 403},
		{500, headerAPIInfo, "a remark of the proxy's to the cloud's answer", 0},
		{200, headerAPIInfo, "all is well", 0},
		{403, "X-Amz-Request-Id", "1", 0},
	} {
		res := &http.Response{StatusCode: tt.status, Header: http.Header{tt.header: {tt.text}}}
		err := refusedByProxy(res)
		refused, ok := errors.AsType[*RefusedError](err)
		switch {
		case (err != nil) != (tt.want != 0), ok != (tt.want != 0):
			t.Errorf("%d %s: %v", tt.status, tt.text, err)
		case ok && (refused.code() != tt.want || refused.code() < 404 && refused.Hint() == ""):
			t.Errorf("%d %s: %d, hint %q", tt.status, tt.text, refused.code(), refused.Hint())
		}
	}
}
