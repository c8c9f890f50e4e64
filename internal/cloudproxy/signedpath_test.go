package cloudproxy

import (
	"strings"
	"testing"
)

// signedAs is a request whose path on the wire is not quite what was signed.
func signedAs(t testing.TB, host, service, signed, wire string) (code string) {
	t.Helper()
	r := request(t, "GET", "https://"+host+"/", "")
	r.URL.Opaque = "//" + host + signed
	signing{service: service}.sign(t, r, "")
	r.URL.Opaque = wire
	_, err := newTestAWS().Check(received(t, r))
	return codeOf(err)
}

// What counts is the path as it is on the wire. Programs that tidy it up before they
// sign, as the AWS CLI does for all but S3, are understood.
func TestSignedPath(t *testing.T) {
	const (
		storage = "b.s3.eu-west-1.amazonaws.com"
		api     = "x.execute-api.eu-west-1.amazonaws.com"
	)
	for _, tt := range []struct{ host, service, signed, wire, want string }{
		{storage, "s3", "/a|b", "/a|b", ""}, // net/url would escape it
		{storage, "s3", "/a/b", "/a//b", "SignatureDoesNotMatch"},
		{storage, "s3", "/b", "/a/../b", "SignatureDoesNotMatch"},
		{api, "execute-api", "/a/b", "/a//b", ""},
		{api, "execute-api", "/a/b/", "/a/./b/", ""},
		{api, "execute-api", "/b", "/a/../b", ""},
		{api, "execute-api", "/a//b", "/a//b", ""},
		{api, "execute-api", "/a/b", "/a/b/", "SignatureDoesNotMatch"},
		{api, "execute-api", "/a/b", "/b", "SignatureDoesNotMatch"},
	} {
		if got := signedAs(t, tt.host, tt.service, tt.signed, tt.wire); got != tt.want {
			t.Errorf("%s: signed %s, sent %s: %q, want %q", tt.service, tt.signed, tt.wire, got, tt.want)
		}
	}
}

// The session token of a presigned URL, too, is taken out of its query: behind the
// check the request is signed in its header, by other credentials.
func TestPresignedToken(t *testing.T) {
	r := presign(t, request(t, "GET", "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&X-Amz-Expires=60", ""),
		signing{keys: testKeys, service: "sts", at: testNow, token: "left over"}, hashOf(""))
	if !strings.Contains(r.URL.RawQuery, "X-Amz-Security-Token=left") {
		t.Fatalf("the test is no test: %s", r.URL.RawQuery)
	}
	c, err := newTestAWS().Check(received(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Request.URL.RawQuery; got != "Action=GetCallerIdentity" {
		t.Errorf("goes on as %s", got)
	}
}
